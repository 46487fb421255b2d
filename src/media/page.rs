//! What a web page says of itself, for the preview of a link: title, description, picture. Reads the head of the page
//! as a scanner, not as a browser: nothing is nested, nothing is run, and every byte is looked at a bounded number of times.

/// Longest title and description, in characters; the message carries both.
const TITLE_MAX: usize = 256;
const DESCRIPTION_MAX: usize = 512;
/// Longest address of a picture, in bytes.
const ADDRESS_MAX: usize = 2048;
/// Attributes of one tag that are looked at.
const ATTRIBUTES_MAX: usize = 32;
/// Elements whose content is no markup.
const RAW: [&str; 4] = ["script", "style", "textarea", "noscript"];

/// The words of a page for its link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most 256 characters.
    pub title: Option<String>,
    /// At most 512 characters.
    pub description: Option<String>,
    /// Address of a picture as it stands there: perhaps relative to the page.
    pub image: Option<String>,
}

/// What a page was found to say, and where; a better place wins.
#[derive(Default)]
struct Found {
    title: [Option<String>; 3],
    description: [Option<String>; 3],
    image: [Option<String>; 3],
}

/// Reads a page, or the beginning of one. `content_type` is what its server announced.
pub fn page(bytes: &[u8], content_type: Option<&str>) -> Page {
    let text = text(bytes, content_type);
    let mut found = Found::default();
    scan(&text, &mut found);
    let first = |places: [Option<String>; 3]| places.into_iter().flatten().next();
    Page {
        title: first(found.title).and_then(|title| tidied(&title, TITLE_MAX)),
        description: first(found.description).and_then(|words| tidied(&words, DESCRIPTION_MAX)),
        image: first(found.image)
            .map(|image| image.trim().to_owned())
            .filter(|image| !image.is_empty() && image.len() <= ADDRESS_MAX),
    }
}

/// UTF-8, unless the server or the page itself says Latin-1 (every browser reads that as Windows-1252, whose letters
/// are the same).
fn text(bytes: &[u8], content_type: Option<&str>) -> String {
    let latin = |text: &str| {
        let text = text.to_ascii_lowercase();
        ["iso-8859-1", "windows-1252", "latin1"].iter().any(|name| text.contains(name))
    };
    let announced = content_type.filter(|header| header.to_ascii_lowercase().contains("charset"));
    let is_latin = match announced {
        Some(header) => latin(header),
        None => {
            // Where the standard has it declared.
            let (head, _) = bytes.split_at(bytes.len().min(1024));
            let head = String::from_utf8_lossy(head).to_ascii_lowercase();
            head.find("charset").is_some_and(|at| latin(&head[at..].chars().take(32).collect::<String>()))
        }
    };
    if is_latin {
        bytes.iter().map(|byte| char::from(*byte)).collect()
    } else {
        String::from_utf8_lossy(bytes).into_owned()
    }
}

fn scan(mut rest: &str, found: &mut Found) {
    while let Some((_, markup)) = rest.split_once('<') {
        rest = markup;
        if let Some(comment) = markup.strip_prefix("!--") {
            let Some((_, after)) = comment.split_once("-->") else { return };
            rest = after;
            continue;
        }
        let length = markup.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let (name, after) = markup.split_at(length);
        let name = name.to_ascii_lowercase();
        if name.is_empty() {
            continue;
        }
        let (attributes, after) = attributes(after);
        rest = after;
        match name.as_str() {
            // What describes a page stands before what it shows.
            "body" => return,
            "meta" => note(&attributes, found),
            "title" => {
                let Some((title, after)) = until_end_of("title", rest) else { return };
                found.title[2].get_or_insert_with(|| decoded(title));
                rest = after;
            }
            raw if RAW.contains(&raw) => {
                let Some((_, after)) = until_end_of(raw, rest) else { return };
                rest = after;
            }
            _ => {}
        }
    }
}

/// What stands before `</name`, and what behind.
fn until_end_of<'a>(name: &str, text: &'a str) -> Option<(&'a str, &'a str)> {
    let mut from = 0;
    while let Some(at) = text.get(from..)?.find("</") {
        let start = from + at;
        let tail = text.get(start + 2..)?;
        if tail.get(..name.len()).is_some_and(|end| end.eq_ignore_ascii_case(name)) {
            return Some((text.get(..start)?, tail.get(name.len()..)?));
        }
        from = start + 2;
    }
    None
}

type Attributes<'a> = Vec<(String, &'a str)>;

/// The attributes of a tag, values as they stand, and what follows the tag.
fn attributes(mut rest: &str) -> (Attributes<'_>, &str) {
    let mut all = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if let Some(after) = rest.strip_prefix('>') {
            return (all, after);
        }
        let ends = |c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/');
        // A stray sign where a name should be counts as one.
        let at = rest.char_indices().skip(1).find(|(_, c)| ends(*c)).map_or(rest.len(), |(at, _)| at);
        let (name, after) = rest.split_at(at);
        if name.is_empty() {
            return (all, after);
        }
        rest = after.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let mut value = "";
        if let Some(after) = rest.strip_prefix('=') {
            let after = after.trim_start_matches(|c: char| c.is_ascii_whitespace());
            let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
            (value, rest) = match quote {
                Some(quote) => after.get(1..).and_then(|inner| inner.split_once(quote)).unwrap_or(("", "")),
                None => {
                    let ends = |c: char| c.is_ascii_whitespace() || c == '>';
                    after.split_at(after.find(ends).unwrap_or(after.len()))
                }
            };
        }
        if all.len() < ATTRIBUTES_MAX {
            all.push((name.to_ascii_lowercase(), value));
        }
    }
}

/// `<meta property="og:title" content="…">`, also with `name` (Open Graph, Twitter cards, plain HTML).
fn note(attributes: &Attributes<'_>, found: &mut Found) {
    let value = |name: &str| attributes.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    let Some(content) = value("content").filter(|content| !content.trim().is_empty()) else { return };
    let Some(property) = value("property").or_else(|| value("name")) else { return };
    let place = match property.trim().to_ascii_lowercase().as_str() {
        "og:title" => &mut found.title[0],
        "twitter:title" => &mut found.title[1],
        "og:description" => &mut found.description[0],
        "twitter:description" => &mut found.description[1],
        "description" => &mut found.description[2],
        "og:image" | "og:image:url" => &mut found.image[0],
        "og:image:secure_url" => &mut found.image[1],
        "twitter:image" | "twitter:image:src" => &mut found.image[2],
        _ => return,
    };
    place.get_or_insert_with(|| decoded(content));
}

/// Entities of the letters of Western European languages, in the order of Latin-1 from U+00C0.
const LETTERS: [&str; 64] = [
    "Agrave", "Aacute", "Acirc", "Atilde", "Auml", "Aring", "AElig", "Ccedil", "Egrave", "Eacute", "Ecirc",
    "Euml", "Igrave", "Iacute", "Icirc", "Iuml", "ETH", "Ntilde", "Ograve", "Oacute", "Ocirc", "Otilde",
    "Ouml", "times", "Oslash", "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute", "THORN", "szlig", "agrave",
    "aacute", "acirc", "atilde", "auml", "aring", "aelig", "ccedil", "egrave", "eacute", "ecirc", "euml",
    "igrave", "iacute", "icirc", "iuml", "eth", "ntilde", "ograve", "oacute", "ocirc", "otilde", "ouml",
    "divide", "oslash", "ugrave", "uacute", "ucirc", "uuml", "yacute", "thorn", "yuml",
];
/// And those that stand in sentences.
const SIGNS: [(&str, char); 20] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("ndash", '–'),
    ("mdash", '—'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("laquo", '«'),
    ("raquo", '»'),
    ("hellip", '…'),
    ("bull", '•'),
    ("middot", '·'),
    ("copy", '©'),
    ("reg", '®'),
    ("trade", '™'),
];

fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        // The longest name known here is a few letters.
        let end = after.bytes().take(12).position(|byte| byte == b';');
        match end.and_then(|end| Some((entity(after.get(..end)?)?, after.get(end + 1..)?))) {
            Some((sign, after)) => {
                out.push(sign);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code);
    }
    if let Some(at) = LETTERS.iter().position(|known| *known == name) {
        return char::from_u32(0xc0 + u32::try_from(at).ok()?);
    }
    SIGNS.iter().find(|(known, _)| *known == name).map(|(_, sign)| *sign)
}

/// One line without control characters, of so many characters at most.
fn tidied(text: &str, most: usize) -> Option<String> {
    let mut out = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
        if out.len() > most * 4 {
            break;
        }
    }
    let cut: String = out.chars().take(most).collect();
    (!cut.is_empty()).then_some(cut)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(html: &str) -> Page {
        page(html.as_bytes(), Some("text/html; charset=utf-8"))
    }

    #[test]
    fn open_graph_wins_over_cards_and_those_over_the_plain_head() {
        let html = r#"<!DOCTYPE html><html><head><!-- <title>no</title> -->
            <script>var a = "<title>not this</title>";</script>
            <TITLE lang=pt>Not&iacute;cias &amp; mais</TITLE>
            <meta name="description" content='plain'>
            <meta name=twitter:title content=Card />
            <meta content="The title" property="og:title"/>
            <meta property="og:description" content="Line one
                line two &#128512; &#x2014; end">
            <meta property="og:image" content="/a.jpg?x=1&amp;y=2"></head>
            <body><meta property="og:title" content="too late"></body>"#;
        let expected = Page {
            title: Some("The title".into()),
            description: Some("Line one line two 😀 — end".into()),
            image: Some("/a.jpg?x=1&y=2".into()),
        };
        assert_eq!(of(html), expected);
        assert_eq!(of("<title>Not&iacute;cias &amp; mais</title>").title.as_deref(), Some("Notícias & mais"));
    }

    #[test]
    fn latin_1_is_read_where_it_is_announced() {
        let page_in = |charset: &str| {
            let mut bytes = format!("<meta charset={charset}><title>S").into_bytes();
            bytes.extend_from_slice(b"\xe3o Paulo</title>");
            bytes
        };
        assert_eq!(page(&page_in("iso-8859-1"), None).title.as_deref(), Some("São Paulo"));
        let header = Some("text/html; charset=ISO-8859-1");
        assert_eq!(page(b"<title>S\xe3o</title>", header).title.as_deref(), Some("São"));
        assert_eq!(page("<title>São</title>".as_bytes(), None).title.as_deref(), Some("São"));
    }

    #[test]
    fn what_is_broken_or_empty_says_nothing_and_what_is_long_is_cut() {
        for html in [
            "",
            "<",
            "<title>never ends",
            "<!-- <title>x</title>",
            "<meta content=x",
            "<meta property=og:title>",
        ] {
            assert_eq!(of(html), Page::default(), "{html}");
        }
        let long = of(&format!(
            "<title>{}</title><meta name=description content=\"{}\">",
            "é".repeat(999),
            "x ".repeat(9999)
        ));
        assert_eq!(long.title.unwrap().chars().count(), TITLE_MAX);
        assert_eq!(long.description.unwrap().chars().count(), DESCRIPTION_MAX);
        assert_eq!(of(&format!("<meta property=og:image content={}>", "x".repeat(3000))).image, None);
        assert_eq!(
            of("<title>a &unknown; b &#0; &#xD800; c &</title>").title.as_deref(),
            Some("a &unknown; b &#xD800; c &")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _ = page(&bytes, None);
        }

        #[test]
        fn any_mix_of_markup_is_read_within_its_bounds(
            parts in proptest::collection::vec(prop_oneof![
                Just("<title>"), Just("</title"), Just("<meta "), Just("content="), Just("property=og:title "),
                Just("\""), Just("'"), Just(">"), Just("/"), Just("<!--"), Just("-->"), Just("<script"), Just("</script>"),
                Just("é"), Just("&amp;"), Just("&#"), Just("=")
            ], 0..200)
        ) {
            let page = of(&parts.concat());
            prop_assert!(page.title.is_none_or(|title| title.chars().count() <= TITLE_MAX));
        }
    }
}
