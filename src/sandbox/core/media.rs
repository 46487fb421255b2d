//! Media as the world knows them: who may upload, what a message says of its file, and a phone that uploads again.
//! Blobs themselves are outside; a direct path names its blob by hash, so nothing of it is kept here.

use std::time::Duration;

use prost::Message as _;

use super::{AccountId, DeviceRef, Namespace, OperateError, World, faults::Kind};
use crate::{
    clock::Millis,
    crypto::media::{
        Claim, MediaKind,
        retry::{self, Answer, Failure},
    },
    proto,
    stanza::{MediaConn, MediaHost, MediaRetryAnswer, MediaRetryRequest},
    wire::Node,
};

/// Values seen from the real server (protocol 03, 4).
const TTL: u32 = 300;
const AUTH_TTL: u32 = 21_600;
const MAX_BUCKETS: u32 = 12;
/// Wrappers around a message that are looked through.
const MAX_DEPTH: usize = 8;

/// What a message says of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaFacts {
    pub(crate) kind: MediaKind,
    pub(crate) direct_path: String,
    pub(crate) media_key: [u8; 32],
    pub(crate) claim: Claim,
    pub(crate) mimetype: String,
}

/// What the faults in force do to one request of the media server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CdnFaults {
    /// Answered with this status.
    pub(crate) status: Option<u16>,
    /// Answered so much later.
    pub(crate) delay: Option<Duration>,
    /// Broken off half-way.
    pub(crate) cut: bool,
}

impl World {
    /// Where the media server is: `address:port`.
    pub(crate) fn serve_media_at(&mut self, host: String) {
        self.media_host = host;
    }

    pub(crate) fn media_host(&self) -> &str {
        &self.media_host
    }

    /// The answer to a query for the media hosts.
    pub(crate) fn media_conn(&mut self, device: DeviceRef, id: &str, now: Millis) -> Node {
        let until = now + Duration::from_secs(u64::from(AUTH_TTL));
        let auth = self.random_hex(24);
        // The last permission of each device counts, as long as it is good for.
        self.media_auths.insert(device, (auth.clone(), until));
        let host = MediaHost { hostname: self.media_host.clone(), primary: true, fallback_hostname: None };
        MediaConn {
            auth,
            ttl: TTL,
            auth_ttl: Some(AUTH_TTL),
            max_buckets: Some(MAX_BUCKETS),
            hosts: vec![host],
        }
        .build(id)
    }

    /// Whose permission this is, if it still is one.
    pub(crate) fn uploader(&self, auth: &str, now: Millis) -> Option<DeviceRef> {
        let found = self.media_auths.iter().find(|(_, (known, until))| known == auth && *until > now)?;
        Some(*found.0).filter(|device| self.device(*device).is_some())
    }

    /// Draws the faults for one request; whose it is, is known of uploads only.
    pub(crate) fn cdn_faults(&mut self, by: Option<DeviceRef>) -> CdnFaults {
        if self.faults.is_empty() {
            return CdnFaults::default();
        }
        let names: Vec<_> = by
            .into_iter()
            .flat_map(|by| [self.jid(by, Namespace::Pn), self.jid(by, Namespace::Lid)])
            .collect();
        let Self { faults, rng, .. } = self;
        CdnFaults {
            status: faults.strikes(Kind::Cdn, &names, rng).and_then(|status| u16::try_from(status).ok()),
            delay: faults.strikes(Kind::CdnDelay, &names, rng).map(Duration::from_millis),
            cut: faults.strikes(Kind::CdnCut, &names, rng).is_some(),
        }
    }

    /// The serialized message that a phone received or sent under this id.
    pub(super) fn message_of(&self, phone: AccountId, id: &str) -> Option<&[u8]> {
        let phone = &self.account(phone).phone;
        let received = phone.inbox.iter().rev().find(|m| m.id == id).map(|m| m.message.as_slice());
        received.or_else(|| phone.sent.get(id).map(|kept| kept.message.as_slice()))
    }

    /// The file of a message that a phone received or sent; `None` where it has none.
    pub(crate) fn media_of(&self, phone: AccountId, id: &str) -> Result<Option<MediaFacts>, OperateError> {
        self.message_of(phone, id).ok_or(OperateError::NoSuchMessage).map(media_in)
    }

    /// A companion could not download: the phone, which still has the file, uploads it under a new path.
    pub(super) fn phone_uploads_again(&mut self, phone: DeviceRef, node: &Node, now: Millis) {
        let Ok(request) = MediaRetryRequest::parse_from(node) else {
            return self.journal.refuse("server-error receipt that does not parse");
        };
        let Some(asking) = self.resolve(&request.peer) else { return };
        let id = request.of.id.clone();
        let facts = self.message_of(phone.account, &id).and_then(media_in);
        let blob = facts.as_ref().and_then(|facts| Some((facts, blob_of(&facts.direct_path)?)));
        let outcome = match blob {
            None => Err(2),
            Some((facts, blob)) => {
                let answer = match retry::open_request(&facts.media_key, &id, &request.sealed) {
                    Ok(()) => {
                        let direct_path = direct_path(facts.kind.path_word(), &blob, &self.random_hex(4));
                        Answer::Uploaded { direct_path, message_secret: None }
                    }
                    Err(_) => Answer::Failed(Failure::Decryption),
                };
                Ok(retry::seal_answer(&facts.media_key, &id, &answer, &mut self.rng))
            }
        };
        let from = self.account(phone.account).jid(Namespace::Pn, 0);
        let answer = MediaRetryAnswer { of: request.of, from, t: now.secs(), outcome };
        self.enqueue(asking, answer.build(), now);
    }
}

/// `/v/t62.7118-24/{hash}_{name}.enc?…`: which blob, and which of its uploads. The query is for show, as the real one is to
/// us; clients expect one.
pub(crate) fn direct_path(kind: Option<&str>, blob: &[u8; 32], name: &str) -> String {
    let number = match kind {
        Some("video") => "t62.7161-24",
        Some("audio") => "t62.7117-24",
        Some("document") => "t62.7119-24",
        _ => "t62.7118-24",
    };
    let hash = hex::encode(blob);
    let name = name.to_ascii_lowercase();
    let signature = hash.get(..32).unwrap_or_default();
    format!("/v/{number}/{hash}_{name}.enc?ccb=11-4&oh={signature}&oe=7fffffff&_nc_sid=5e03e0")
}

/// The name of an upload, `{hash}_{name}`, in a path with or without its query.
pub(crate) fn upload_name(path: &str) -> Option<&str> {
    let path = path.split(['?', '&']).next()?;
    let name = path.strip_prefix("/v/")?.rsplit('/').next()?.strip_suffix(".enc")?;
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_').then_some(name)
}

/// The blob that a direct path of ours leads to.
pub(crate) fn blob_of(path: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(upload_name(path)?.split_once('_')?.0, &mut hash).ok()?;
    Some(hash)
}

/// The file in a message, behind whatever wraps it.
pub(crate) fn media_in(message: &[u8]) -> Option<MediaFacts> {
    let mut message = proto::Message::decode(message).ok()?;
    for _ in 0..MAX_DEPTH {
        let wrapped = [
            message.ephemeral_message.take(),
            message.view_once_message.take(),
            message.view_once_message_v2.take(),
            message.view_once_message_v2_extension.take(),
            message.document_with_caption_message.take(),
            message.lottie_sticker_message.take(),
        ];
        match wrapped.into_iter().flatten().next() {
            Some(inner) => message = *inner.message?,
            None => break,
        }
    }
    macro_rules! facts {
        ($media:expr, $kind:expr) => {{
            let media = $media;
            let claim =
                Claim::new(media.file_sha256.as_deref(), media.file_enc_sha256.as_deref(), media.file_length);
            Some(MediaFacts {
                kind: $kind,
                direct_path: media.direct_path?,
                media_key: media.media_key?.try_into().ok()?,
                claim: claim.ok()?,
                mimetype: media.mimetype.unwrap_or_else(|| "application/octet-stream".into()),
            })
        }};
    }
    if let Some(image) = message.image_message {
        return facts!(*image, MediaKind::Image);
    }
    if let Some(video) = message.video_message.or(message.ptv_message) {
        return facts!(*video, MediaKind::Video);
    }
    if let Some(audio) = message.audio_message {
        return facts!(*audio, MediaKind::Audio);
    }
    if let Some(document) = message.document_message {
        return facts!(*document, MediaKind::Document);
    }
    facts!(*message.sticker_message?, MediaKind::Sticker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_its_blob_with_whatever_query() {
        let path = direct_path(Some("image"), &[0xab; 32], "0F");
        assert!(path.starts_with("/v/t62.7118-24/abab"), "{path}");
        for form in [
            path.clone(),
            format!("{path}&hash=x&mms-type=image"),
            format!("{path}?auth=a"),
            path.replace('?', "&"),
            path.split('?').next().unwrap().to_owned(),
        ] {
            assert_eq!(blob_of(&form), Some([0xab; 32]), "{form}");
            assert!(upload_name(&form).unwrap().ends_with("_0f"));
        }
        for other in ["", "/", "/v/t62/abc.enc", "/v/t62/../../x.enc", "/x/t62/aa_1.enc"] {
            assert_eq!(blob_of(other), None, "{other}");
        }
    }
}
