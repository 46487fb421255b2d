//! File names of documents: what a person sees on a phone, and saves files under.

use super::{Detected, Format};

/// The longest file name, in characters.
const MAX_NAME: usize = 255;

/// A name without path separators and control characters, of at most 255 characters; a longer one keeps its extension.
/// Marks that turn the direction of writing are removed as well: they make `gpj.exe` look like `exe.jpg`. `None`:
/// nothing is left of it.
pub fn clean_name(name: &str) -> Option<String> {
    let unwanted = |c: char| {
        c.is_control()
            || matches!(c, '/' | '\\' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let name: String = name.chars().filter(|c| !unwanted(*c)).collect();
    let name = name.trim();
    if name.is_empty() || name.chars().all(|c| c == '.') {
        return None;
    }
    let length = name.chars().count();
    if length <= MAX_NAME {
        return Some(name.to_owned());
    }
    let extension = name.rsplit_once('.').map(|(_, extension)| extension).filter(|e| e.len() <= 16);
    let keep = MAX_NAME - extension.map_or(0, |extension| extension.chars().count() + 1);
    let mut cut: String = name.chars().take(keep).collect();
    if let Some(extension) = extension {
        cut.push('.');
        cut.push_str(extension);
    }
    // Where it was cut there may be a space, or nothing but dots may be left.
    clean_name(&cut)
}

/// The name of a document: as asked for, else from `Content-Disposition`, else the last segment of the URL's path, else
/// `document.` and what it is.
pub fn document_name(
    asked: Option<&str>,
    content_disposition: Option<&str>,
    url: Option<&str>,
    detected: &Detected,
) -> String {
    asked
        .and_then(clean_name)
        .or_else(|| content_disposition.and_then(disposed).and_then(|name| clean_name(&name)))
        .or_else(|| url.and_then(last_segment).and_then(|name| clean_name(&name)))
        .unwrap_or_else(|| format!("document.{}", detected.format().map_or("bin", Format::extension)))
}

/// `filename*` in UTF-8 (RFC 8187), else `filename`, quoted or not. Only its last segment: a path in there would be one
/// of the server's.
fn disposed(header: &str) -> Option<String> {
    let mut plain = None;
    for (key, value) in parameters(header) {
        if key.eq_ignore_ascii_case("filename*")
            && let Some((charset, rest)) = value.split_once('\'')
            && charset.eq_ignore_ascii_case("utf-8")
            && let Some((_, encoded)) = rest.split_once('\'')
        {
            return Some(segment(&decoded(encoded)).to_owned());
        }
        if key.eq_ignore_ascii_case("filename") {
            plain = plain.or(Some(segment(&value).to_owned()));
        }
    }
    plain
}

/// `key=value` between semicolons, with quotes and their escapes taken off.
fn parameters(header: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (mut key, mut value, mut in_value, mut quoted) = (String::new(), String::new(), false, false);
    let mut characters = header.chars();
    loop {
        let next = characters.next();
        match next {
            None | Some(';') if !quoted || next.is_none() => {
                if in_value {
                    found.push((key.trim().to_owned(), value.trim().to_owned()));
                }
                (key, value, in_value) = (String::new(), String::new(), false);
                if next.is_none() {
                    return found;
                }
            }
            Some('=') if !in_value => in_value = true,
            Some('"') if in_value => quoted = !quoted,
            Some('\\') if quoted => value.extend(characters.next()),
            Some(c) if in_value => value.push(c),
            Some(c) => key.push(c),
            None => return found,
        }
    }
}

fn segment(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or_default()
}

/// Of `scheme://host/path?query#fragment`.
fn last_segment(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let (_, path) = path.split_once('/')?;
    path.rsplit('/').next().map(decoded)
}

/// Percent-decoding; what does not decode to UTF-8 stays as it is written.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let byte = if *first == b'%' {
            after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| {
                hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u8::from_str_radix(hex, 16).ok()).flatten()
            })
        } else {
            None
        };
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_is_dangerous_and_keep_what_is_a_name() {
        let clean = |name: &str| clean_name(name).unwrap_or_default();
        assert_eq!(clean("relatório 2025.pdf"), "relatório 2025.pdf");
        assert_eq!(clean("../../etc/passwd"), "....etcpasswd");
        assert_eq!(clean("a\\b\r\n.pdf\0"), "ab.pdf");
        assert_eq!(clean("invoice\u{202e}fdp.exe"), "invoicefdp.exe");
        for nothing in ["", "  ", "..", "/", "\u{202e}", "\0"] {
            assert_eq!(clean_name(nothing), None, "{nothing:?}");
        }
        let long = clean(&format!("{}.docx", "é".repeat(400)));
        assert_eq!(long.chars().count(), 255);
        assert!(long.ends_with("é.docx"));
        assert_eq!(clean(&"x".repeat(256)).len(), 255);
        assert_eq!(clean(&"x".repeat(255)).len(), 255);
        // What is left of a long one is clean as well.
        assert_eq!(clean(&format!("{}{}b", "a".repeat(250), " ".repeat(20))), "a".repeat(250));
        assert_eq!(clean_name(&format!("{}{}", ".".repeat(300), "x".repeat(20))), None);
    }

    #[test]
    fn the_name_is_the_first_that_somebody_gave() {
        let pdf = Detected::Listed(Format::Pdf);
        let name = |asked, disposition, url| document_name(asked, disposition, url, &pdf);
        let url = Some("https://example.com/files/nota%20fiscal.pdf?x=/y.png#z");
        let disposition = Some("attachment; filename=\"boleto; 1.pdf\"");
        assert_eq!(name(Some("a/b.pdf"), disposition, url), "ab.pdf");
        assert_eq!(name(Some(" "), disposition, url), "boleto; 1.pdf");
        assert_eq!(name(None, Some("inline"), url), "nota fiscal.pdf");
        assert_eq!(name(None, None, Some("https://example.com")), "document.pdf");
        assert_eq!(name(None, None, Some("https://example.com/")), "document.pdf");
        assert_eq!(name(None, None, None), "document.pdf");
        assert_eq!(document_name(None, None, None, &Detected::Other { mime: None }), "document.bin");
        let both = "attachment; filename=x.pdf; FileName*=UTF-8''%e2%82%ac%20rates.pdf";
        assert_eq!(name(None, Some(both), None), "€ rates.pdf");
        assert_eq!(name(None, Some("attachment; filename=\"C:\\\\temp\\\\q\\\".pdf\""), None), "q\".pdf");
        assert_eq!(name(None, Some("attachment; filename=/tmp/y.pdf"), None), "y.pdf");
        assert_eq!(name(None, None, Some("https://e.com/100%")), "100%");
        assert_eq!(name(None, None, Some("https://e.com/%ff.pdf")), "%ff.pdf");
        assert_eq!(name(None, None, Some("https://e.com/a%2fb.pdf")), "ab.pdf");
    }
}
