//! Text → checked value, one small reader a type. A reader that says no says what is allowed.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use zeroize::Zeroizing;

use super::{LogFormat, RejectCalls};
use crate::net::Proxy;

/// What would have been right, to end the sentence "allowed is …".
pub(super) struct Allowed(pub(super) String);

fn allowed<T>(what: &str) -> Result<T, Allowed> {
    Err(Allowed(what.to_owned()))
}

pub(super) fn path(text: &str) -> Result<PathBuf, Allowed> {
    if text.is_empty() || text.contains('\0') { allowed("a path") } else { Ok(PathBuf::from(text)) }
}

pub(super) fn pem_file(text: &str) -> Result<PathBuf, Allowed> {
    let found = std::fs::read(text)
        .is_ok_and(|bytes| bytes.windows(27).any(|window| window == b"-----BEGIN CERTIFICATE-----"));
    if found { Ok(PathBuf::from(text)) } else { allowed("a readable PEM file with at least one certificate") }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, Allowed> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    numeric
        .as_deref()
        .unwrap_or(text)
        .parse()
        .or_else(|_| allowed("IP:PORT, such as 127.0.0.1:3000 or [::1]:3000"))
}

fn url(text: &str, schemes: &[&str]) -> Option<reqwest::Url> {
    let url = reqwest::Url::parse(text).ok()?;
    (schemes.contains(&url.scheme()) && url.has_host() && text.len() <= 2048).then_some(url)
}

/// An absolute http or https URL without query or fragment, since paths are appended to it; no slash at the end.
pub(super) fn http_url(text: &str) -> Result<String, Allowed> {
    match url(text, &["http", "https"]) {
        Some(url) if url.query().is_none() && url.fragment().is_none() => {
            Ok(url.as_str().trim_end_matches('/').to_owned())
        }
        _ => allowed("an absolute http:// or https:// URL without query or fragment"),
    }
}

pub(super) fn socket_url(text: &str) -> Result<String, Allowed> {
    match url(text, &["ws", "wss"]) {
        Some(url) => Ok(url.into()),
        None => allowed("a wss:// or ws:// URL"),
    }
}

pub(super) fn proxy_url(text: &str) -> Result<String, Allowed> {
    match text.parse::<Proxy>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => allowed("socks5://, http:// or https:// with a host and, where it differs, a port"),
    }
}

pub(super) fn uuid(text: &str) -> Result<uuid::Uuid, Allowed> {
    text.parse().or_else(|_| allowed("a UUID, such as 550e8400-e29b-41d4-a716-446655440000"))
}

pub(super) fn text(text: &str) -> Result<String, Allowed> {
    if text.is_empty() { allowed("a text of at least one character") } else { Ok(text.to_owned()) }
}

/// A text in a file; the line break that editors add does not belong to it.
pub(super) fn key_file(path: &str) -> Result<Zeroizing<String>, Allowed> {
    /// More than any key; whoever names another file by mistake is told so.
    const LONGEST: u64 = 4096;
    let small = std::fs::metadata(path).is_ok_and(|file| file.len() <= LONGEST);
    let text = small.then(|| std::fs::read_to_string(path).ok()).flatten().map(Zeroizing::new);
    match text.as_deref().map(|text| text.trim_end_matches(['\r', '\n'])) {
        Some(key) if !key.is_empty() => Ok(Zeroizing::new(key.to_owned())),
        _ => allowed("a readable file with a text of 1 to 4096 bytes"),
    }
}

/// Any length: operators bring tokens of other programs.
pub(super) fn token(text: &str) -> Result<String, Allowed> {
    match text.strip_prefix("sk_") {
        Some(secret) if !secret.is_empty() && secret.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(text.to_owned())
        }
        _ => allowed("sk_ and at least one visible ASCII character"),
    }
}

pub(super) fn key(text: &str) -> Result<[u8; 32], Allowed> {
    let mut key = [0; 32];
    match hex::decode_to_slice(text, &mut key) {
        Ok(()) => Ok(key),
        Err(_) => allowed("64 hex digits"),
    }
}

pub(super) fn device_name(text: &str) -> Result<String, Allowed> {
    let printable = !text.trim().is_empty() && !text.chars().any(char::is_control);
    if printable && text.chars().count() <= 50 {
        Ok(text.to_owned())
    } else {
        allowed("1 to 50 printable characters")
    }
}

/// `None`: auto.
pub(super) fn version(text: &str) -> Result<Option<(u32, u32, u32)>, Allowed> {
    if text == "auto" {
        return Ok(None);
    }
    let mut parts = text.split('.').map(|part| digits(part).and_then(|n| u32::try_from(n).ok()));
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some(primary)), Some(Some(secondary)), Some(Some(tertiary)), None) => {
            Ok(Some((primary, secondary, tertiary)))
        }
        _ => allowed("auto or X.Y.Z, such as 2.3000.1043857760"),
    }
}

/// `true`: available.
pub(super) fn presence(text: &str) -> Result<bool, Allowed> {
    match text {
        "available" => Ok(true),
        "unavailable" => Ok(false),
        _ => allowed("unavailable or available"),
    }
}

/// A phone number in any usual spelling, as its digits.
pub(super) fn phone(text: &str) -> Result<String, Allowed> {
    let spaced = |c: char| c.is_whitespace() || matches!(c, '+' | '-' | '(' | ')' | '.');
    let number: String = text.chars().filter(|c| !spaced(*c)).collect();
    let fits = (8..=15).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    if fits && !number.starts_with('0') {
        Ok(number)
    } else {
        allowed("a phone number of 8 to 15 digits with country code")
    }
}

/// A switch, or what the caller is sent.
pub(super) fn reject_calls(text: &str) -> Result<RejectCalls, Allowed> {
    match switch(text) {
        Ok(false) => Ok(RejectCalls::Off),
        Ok(true) => Ok(RejectCalls::Silently),
        Err(_) if !text.trim().is_empty() && text.chars().count() <= 4096 => {
            Ok(RejectCalls::Saying(text.to_owned()))
        }
        Err(_) => allowed("off, on, or a text of at most 4,096 characters"),
    }
}

/// `true`: only the listed formats.
pub(super) fn documents(text: &str) -> Result<bool, Allowed> {
    match text {
        "any" => Ok(false),
        "listed" => Ok(true),
        _ => allowed("any or listed"),
    }
}

/// A switch as people write one in an environment variable.
pub(super) fn switch(text: &str) -> Result<bool, Allowed> {
    match text {
        "on" | "true" | "1" => Ok(true),
        "off" | "false" | "0" => Ok(false),
        _ => allowed("on or off"),
    }
}

pub(super) fn count(text: &str) -> Result<u64, Allowed> {
    match digits(text) {
        Some(count) if count >= 1 => Ok(count),
        _ => allowed("a whole number of at least 1"),
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, Allowed> {
    let wrong =
        "a whole number of at least 1 with a unit (s, m, h or d), such as 30s, 12h or 7d, at most 36500d";
    let Some(unit) = text.chars().last().filter(char::is_ascii) else { return allowed(wrong) };
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return allowed(wrong),
    };
    match digits(&text[..text.len() - 1]).and_then(|n| n.checked_mul(seconds)) {
        Some(total) if (1..=36_500 * 86_400).contains(&total) => Ok(Duration::from_secs(total)),
        _ => allowed(wrong),
    }
}

/// `None`: off.
pub(super) fn rate(text: &str) -> Result<Option<(u32, Duration)>, Allowed> {
    if text == "off" {
        return Ok(None);
    }
    let parts =
        text.split_once('/').and_then(|(n, secs)| Some((u32::try_from(digits(n)?).ok()?, digits(secs)?)));
    match parts {
        Some((requests @ 1.., secs @ 1..=86_400)) => Ok(Some((requests, Duration::from_secs(secs)))),
        _ => allowed(
            "N/SECONDS, both whole numbers of at least 1, such as 100/900, at most 86400 seconds; or off",
        ),
    }
}

pub(super) fn log_filter(text: &str) -> Result<String, Allowed> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
        _ => allowed("error, warn, info, debug, trace, or a list such as info,wazap=debug"),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, Allowed> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => allowed("text or json"),
    }
}

/// Digits only: `parse` alone would take a leading plus sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
