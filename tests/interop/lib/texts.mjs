// Texts that break careless code.

/** Joined emoji, right to left, combining marks, four-byte characters, controls, quotes, line ends, and space at both ends. */
export const UNICODE = '  Olá, 👩‍👩‍👧‍👦 🇧🇷 שלום العربية हिन्दी 漢字 𝔘𝔫𝔦 e\u0301 "<&>" \\ \u200b\u202e\u202c \t|\r\n| end \u{1F9E8}  ';

/** 60,000 characters, most of several bytes. */
export const LONG = 'áé漢🙂 z'.repeat(10_000);
