// Small files of every kind, made here.

import { readFileSync } from 'node:fs';
import { crc32, deflateSync } from 'node:zlib';

const number = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

const chunk = (kind, body) => {
  const content = Buffer.concat([Buffer.from(kind), body]);
  return Buffer.concat([number(body.length), content, number(crc32(content))]);
};

/** A square of one colour; `size`: of exactly so many bytes, by a private chunk that every reader skips. */
export function png({ side = 16, colour = [200, 60, 30], size } = {}) {
  const row = Buffer.from([0, ...Array(side).fill(colour).flat()]);
  const head = chunk('IHDR', Buffer.concat([number(side), number(side), Buffer.from([8, 2, 0, 0, 0])]));
  const parts = [
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    head,
    chunk('IDAT', deflateSync(Buffer.concat(Array(side).fill(row)))),
    chunk('IEND', Buffer.alloc(0)),
  ];
  if (size !== undefined) {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    parts.splice(2, 0, chunk('fiLl', Buffer.alloc(size - length - 12)));
  }
  return Buffer.concat(parts);
}

const box = (kind, ...bodies) => {
  const body = Buffer.concat(bodies);
  return Buffer.concat([number(body.length + 8), Buffer.from(kind), body]);
};

const MATRIX = Buffer.concat([0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000].map(number));

/** An MP4 of two seconds and 64 by 48 pixels with an empty picture track (ISO/IEC 14496-12). */
export function mp4() {
  const times = [0, 0, 0, 1000, 2000].map(number);
  const mvhd = box('mvhd', ...times, number(0x10000), Buffer.alloc(12), MATRIX, Buffer.alloc(24), number(2));
  const [width, height] = [number(64 << 16), number(48 << 16)];
  const tkhd = box('tkhd', number(3), number(0), number(0), number(1), number(0), number(2000), Buffer.alloc(16), MATRIX, width, height);
  const hdlr = box('hdlr', number(0), number(0), Buffer.from('vide'), Buffer.alloc(13));
  const mdia = box('mdia', box('mdhd', ...times, number(0)), hdlr);
  const ftyp = box('ftyp', Buffer.from('isom'), number(512), Buffer.from('isommp41'));
  return Buffer.concat([ftyp, box('moov', mvhd, box('trak', tkhd, mdia)), box('mdat', Buffer.alloc(5000, 7))]);
}

/** A transparent pixel. */
export const webp = () => Buffer.from('UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==', 'base64');

/** A few seconds of speech. */
export const opus = () => readFileSync(new URL('../../vectors/media/speech.opus', import.meta.url));

export const pdf = () => Buffer.from('%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n');
