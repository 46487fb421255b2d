//! Media around the connection: where they are uploaded, what a message says of its file, and asking the phone for a
//! file that the servers have no more.

use std::time::Duration;

use prost::Message as _;

use super::{
    Error, SendError, content,
    dispatch::{Account, Answer, Effect, Ticket, Turn},
    link::Query,
};
use crate::{
    crypto::media::{
        MediaKind,
        retry::{self, Answer as PhoneAnswer},
    },
    proto,
    stanza::{Iq, MediaConn, MediaOf, MediaRetryAnswer, MediaRetryRequest, media_conn_query},
    store::messages::Message,
    wire::Node,
};

/// What a message says of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Which keys open it.
    pub kind: MediaKind,
    /// In the words of the contract: image, video, audio, document, sticker.
    pub media_type: &'static str,
    /// Where it is, without the host.
    pub direct_path: String,
    /// It is on the servers as it is, as everything in a newsletter. The key is then one to keep it with here.
    pub open: bool,
    /// What opens it.
    pub media_key: [u8; 32],
    /// SHA-256 of the file, if told.
    pub file_sha256: Option<Vec<u8>>,
    /// SHA-256 of what is on the servers, if told.
    pub file_enc_sha256: Option<Vec<u8>>,
    /// Bytes of the file, if told.
    pub file_length: Option<u64>,
    /// As its sender says.
    pub mimetype: Option<String>,
    /// Of a document.
    pub file_name: Option<String>,
}

impl Attachment {
    /// The file of a message, if it has one that can be opened.
    pub fn of(message: &[u8]) -> Option<Self> {
        let message = proto::Message::decode(content::inner(message)).ok()?;
        macro_rules! file {
            ($media:expr, $kind:expr, $word:literal, $name:expr) => {{
                let media = $media;
                let hash = media.file_sha256.as_deref().and_then(|hash| <[u8; 32]>::try_from(hash).ok());
                let open = media.media_key.is_none();
                let media_key = match media.media_key {
                    Some(key) => key.try_into().ok()?,
                    // Whoever has the file knows its hash: what it is kept with keeps nothing secret.
                    None => hash?,
                };
                Some(Self {
                    open,
                    kind: $kind,
                    media_type: $word,
                    file_name: $name,
                    direct_path: media.direct_path?,
                    media_key,
                    file_sha256: media.file_sha256,
                    file_enc_sha256: media.file_enc_sha256.filter(|_| !open),
                    file_length: media.file_length,
                    mimetype: media.mimetype,
                })
            }};
        }
        if let Some(image) = message.image_message {
            file!(*image, MediaKind::Image, "image", None)
        } else if let Some(video) = message.video_message.or(message.ptv_message) {
            file!(*video, MediaKind::Video, "video", None)
        } else if let Some(audio) = message.audio_message {
            file!(*audio, MediaKind::Audio, "audio", None)
        } else if let Some(mut document) = message.document_message {
            let name = document.file_name.take();
            file!(*document, MediaKind::Document, "document", name)
        } else if let Some(sticker) = message.sticker_message {
            file!(*sticker, MediaKind::Sticker, "sticker", None)
        } else {
            None
        }
    }
}

impl Account {
    pub(super) fn media_hosts(
        &mut self,
        ticket: Ticket,
        refresh: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let status = self.link.status;
        let sends = self.can_send();
        let Some(conn) = self.conn.as_mut().filter(|_| sends) else {
            let refused = Answer::Refused(SendError::NotConnected(status));
            turn.effects.push(Effect::Answer(ticket, refused));
            return Ok(());
        };
        let good = |(hosts, since): &(MediaConn, _)| {
            turn.now.since(*since) < Duration::from_secs(u64::from(hosts.good_for()))
        };
        match conn.media.as_ref().filter(|known| !refresh && good(known)) {
            Some((hosts, _)) => turn.effects.push(Effect::Answer(ticket, Answer::MediaHosts(hosts.clone()))),
            None => {
                conn.media_waiting.push(ticket);
                if conn.media_waiting.len() == 1 {
                    let id = conn.query(Query::MediaHosts, turn.now);
                    turn.send(&media_conn_query(&id));
                }
            }
        }
        Ok(())
    }

    pub(super) fn media_hosts_answered(&mut self, node: &Node, turn: &mut Turn<'_>) {
        let Some(conn) = &mut self.conn else { return };
        let hosts = match (Iq::refusal(node), MediaConn::parse(node)) {
            (None, Ok(hosts)) => Some(hosts),
            (refusal, _) => {
                tracing::warn!(code = refusal.map(|r| r.code), "media hosts could not be had");
                None
            }
        };
        conn.media = hosts.clone().map(|hosts| (hosts, turn.now));
        for ticket in std::mem::take(&mut conn.media_waiting) {
            let answer = match &hosts {
                Some(hosts) => Answer::MediaHosts(hosts.clone()),
                None => Answer::Refused(SendError::Internal),
            };
            turn.effects.push(Effect::Answer(ticket, answer));
        }
    }

    /// Asks the own phone for a file that is gone from the servers. Answered by a notification, or not at all.
    pub(super) fn reupload(
        &mut self,
        ticket: Ticket,
        message: i64,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let request = self.reupload_request(message, turn)?;
        let sends = self.can_send();
        match (request, self.conn.as_mut().filter(|_| sends)) {
            (Some(request), Some(conn)) => {
                conn.reuploads.entry(request.of.id.clone()).or_default().push((ticket, message));
                turn.send(&request.build_to());
            }
            _ => turn.effects.push(Effect::Answer(ticket, Answer::Reuploaded(None))),
        }
        Ok(())
    }

    fn reupload_request(
        &self,
        message: i64,
        turn: &mut Turn<'_>,
    ) -> Result<Option<MediaRetryRequest>, Error> {
        let Some(message) = turn.tx.messages().by_row(message)? else { return Ok(None) };
        let Some(chat) = turn.tx.messages().chat_by_id(message.key.chat)? else { return Ok(None) };
        let file = Attachment::of(&message.content).filter(|file| !file.open);
        let (Some(file), Some(own)) = (file, self.own_pn()) else {
            return Ok(None);
        };
        let Message { key, .. } = message;
        Ok(Some(MediaRetryRequest {
            sealed: retry::seal_request(&file.media_key, &key.wa_id, turn.rng),
            of: MediaOf {
                id: key.wa_id,
                chat: turn.tx.people().signal_address(&chat.jid)?,
                from_me: key.from_me,
                participant: key.participant,
            },
            peer: own,
        }))
    }

    /// The phone's answer.
    pub(super) fn reuploaded(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        let answer = match MediaRetryAnswer::parse(node) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%error, "mediaretry");
                return Ok(());
            }
        };
        let waiting = self.conn.as_mut().and_then(|conn| conn.reuploads.remove(&answer.of.id));
        let mut unanswered = Vec::new();
        for (ticket, row) in waiting.into_iter().flatten() {
            let message = turn.tx.messages().by_row(row)?;
            let file = message.as_ref().and_then(|message| Attachment::of(&message.content));
            let opened = match (&answer.outcome, &file) {
                (Ok(sealed), Some(file)) => retry::open_answer(&file.media_key, &answer.of.id, sealed).ok(),
                _ => None,
            };
            let path = match opened {
                Some(PhoneAnswer::Uploaded { direct_path, .. }) => Some(direct_path),
                // Sealed by somebody who has not the key of the file: no word of the phone's, which may still come.
                None if answer.outcome.is_ok() && file.is_some() => {
                    tracing::warn!("an answer about a file that does not open");
                    unanswered.push((ticket, row));
                    continue;
                }
                _ => None,
            };
            turn.effects.push(Effect::Answer(ticket, Answer::Reuploaded(path)));
        }
        if let (Some(conn), false) = (&mut self.conn, unanswered.is_empty()) {
            conn.reuploads.insert(answer.of.id, unanswered);
        }
        Ok(())
    }
}
