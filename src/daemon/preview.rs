//! The preview of a link: the page behind it is fetched under the rules for callers' URLs, and what it says of itself
//! goes along with the text. Nothing that goes wrong here keeps a text from being sent.

use std::{io::Cursor, time::Duration};

use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use super::media::Desk;
use crate::{
    account::{Body, Preview, SendError, SendMessage, Sent},
    media,
    net::fetch::Fetcher,
};

/// What a page and its picture may cost together; a text that waits longer for them is worse than one without.
const PATIENCE: Duration = Duration::from_secs(5);
/// The beginning of a page; its head is within that, or it has none.
const PAGE_MAX: u64 = 512 << 10;
/// The picture before it is made small.
const IMAGE_MAX: u64 = 1 << 20;
/// Longest URL that is looked at, in bytes (instance-api.md §7.2).
const URL_MAX: usize = 2048;

impl Desk {
    /// Sends a text with a preview of the first link in it, if there is one and it can be had.
    pub async fn send_linked(&self, message: SendMessage) -> Result<Sent, SendError> {
        let Body::Text(text) = &message.body else { return self.handle().send_message(message).await };
        let Some(url) = first_url(text) else { return self.handle().send_message(message).await };
        if let Some(before) = self.handle().would_take(message.clone()).await? {
            return Ok(before);
        }
        let body = match self.preview(url).await {
            Some(preview) => Body::Linked { text: text.clone(), preview: Box::new(preview) },
            None => message.body.clone(),
        };
        self.handle().send_message(SendMessage { body, ..message }).await
    }

    async fn preview(&self, url: &str) -> Option<Preview> {
        let end = Instant::now() + PATIENCE;
        let _place = timeout_at(end, self.place()).await.ok()??;
        let mut html = Vec::new();
        let fetched =
            timeout_at(end, self.fetcher().fetch_start(url, PAGE_MAX, &mut html)).await.ok()?.ok()?;
        let kind = fetched.content_type.as_deref().unwrap_or("text/html").to_ascii_lowercase();
        if !kind.starts_with("text/html") && !kind.starts_with("application/xhtml+xml") {
            return None;
        }
        let page = media::page(&html, fetched.content_type.as_deref());
        drop(html);
        let image = page.image.as_deref().and_then(|image| fetched.join(image));
        let thumbnail = match image {
            Some(image) => timeout_at(end, self.thumbnail(&image)).await.ok().flatten(),
            None => None,
        };
        Some(Preview { url: url.to_owned(), title: page.title?, description: page.description, thumbnail })
    }

    async fn thumbnail(&self, url: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let fetched = self.fetcher().fetch(url, IMAGE_MAX, &mut bytes).await.ok()?;
        let small = spawn_blocking(move || {
            let mut source = Cursor::new(bytes);
            let detected = media::detect(&mut source, fetched.content_type.as_deref(), None).ok()?;
            media::facts(&mut source, detected.format()?).thumbnail
        });
        small.await.ok()?
    }
}

/// The first `http` or `https` address in a text, without what a sentence puts behind it.
fn first_url(text: &str) -> Option<&str> {
    let mut from = 0;
    while let Some(at) = text.get(from..)?.find("://") {
        let mark = from + at;
        from = mark + 3;
        let before = text.get(..mark)?;
        let scheme = ["https", "http"].into_iter().find(|scheme| {
            let tail = before.len().checked_sub(scheme.len()).and_then(|start| before.get(start..));
            tail.is_some_and(|tail| tail.eq_ignore_ascii_case(scheme))
        });
        let Some(start) = scheme.map(|scheme| mark - scheme.len()) else { continue };
        let url = text.get(start..)?;
        let end = url.find(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"'));
        let url = url.get(..end.unwrap_or(url.len()))?;
        let url = url.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '*', '_', '~', '…']);
        // A bracket that the address did not open is not of it.
        let url = [('(', ')'), ('[', ']')].into_iter().fold(url, |url, (open, close)| {
            if url.ends_with(close) && !url.contains(open) { url.trim_end_matches(close) } else { url }
        });
        if url.len() <= URL_MAX && Fetcher::check(url).is_ok() {
            return Some(url);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::first_url;

    #[test]
    fn the_first_address_in_a_text_is_found_without_its_sentence() {
        for (text, expected) in [
            ("look: https://example.com/a?b=c#d, nice", Some("https://example.com/a?b=c#d")),
            ("(see http://example.com/a)", Some("http://example.com/a")),
            ("https://pt.wikipedia.org/wiki/Rua_(via)", Some("https://pt.wikipedia.org/wiki/Rua_(via)")),
            ("HTTPS://EXAMPLE.com!", Some("HTTPS://EXAMPLE.com")),
            ("ftp://example.com then https://example.org.", Some("https://example.org")),
            ("http:// and https://user:pw@example.com and http://b.example", Some("http://b.example")),
            ("<https://example.com/é>", Some("https://example.com/é")),
            ("xhttp://", None),
            ("example.com", None),
            ("://", None),
            ("", None),
        ] {
            assert_eq!(first_url(text), expected, "{text}");
        }
    }
}
