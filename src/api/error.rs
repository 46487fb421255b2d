//! Every error of the API: one enum, one table (instance-api.md §4).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::{fields::Faults, reply};
use crate::{
    account::{SendError, Status},
    daemon::media::FileError,
    store,
};

/// A status for everybody, and there is nobody.
const NOBODY_KNOWN: &str =
    "The recipients field is required: no chat and no contact is known whom the status could be for.";

/// Why a request was not done.
#[derive(Debug, PartialEq)]
pub(super) enum ApiError {
    /// Not JSON, not an object, empty where one is needed, or of a foreign content type.
    InvalidRequest(&'static str),
    Unauthenticated,
    /// A good token without this scope.
    Forbidden,
    NotFound,
    /// The address names another instance.
    InstanceNotFound,
    WebhookNotFound,
    QrNotAvailable(Status),
    /// WhatsApp's reason.
    PairingCodeRefused(u16),
    /// Where the linking stands.
    PasskeyNotAwaited(&'static str),
    /// WhatsApp's reason.
    PasskeyRefused(u16),
    CallNotFound(String),
    MessageNotFound(String),
    /// As many sends wait for their time as may.
    QueueFull,
    /// It has left already.
    AlreadySent(String),
    /// No batch has that id.
    BatchNotFound(String),
    /// Why not.
    NotForwardable(&'static str),
    ChatNotFound(String),
    ContactNotFound(String),
    MethodNotAllowed,
    IdempotencyConflict,
    PayloadTooLarge,
    Validation(Faults),
    NotOnWhatsapp(String),
    RateLimited {
        limit: u32,
        window_seconds: u64,
        retry_after: u64,
    },
    Internal,
    DownloadFailed {
        url: String,
        reason: String,
    },
    TooLarge {
        size: Option<u64>,
        limit: u64,
    },
    UnsupportedFormat {
        media_type: &'static str,
        detected: String,
    },
    SendTimeout,
    MediaServers,
    GroupNotFound,
    BusinessNotFound,
    LabelNotFound(String),
    QuickReplyNotFound(String),
    /// WhatsApp said no, with this code.
    Refused(u16),
    NewsletterNotFound,
    /// WhatsApp's code.
    NewsletterRefused(u16),
    /// WhatsApp's code for all of it, or each person's.
    GroupRefused(Option<u16>, Value),
    FileNotFound,
    FileGone,
    FileNotAuthentic,
    SendFailed {
        code: u16,
        /// The answer to a key that was seen before.
        replayed: bool,
    },
    NotConnected(Status),
}

impl ApiError {
    /// The row of the table.
    fn row(self) -> (StatusCode, &'static str, &'static str, Value) {
        let none = || Value::Object(Map::new());
        match self {
            Self::InvalidRequest(why) => (StatusCode::BAD_REQUEST, "INVALID_REQUEST", why, none()),
            Self::Unauthenticated => {
                (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", "A valid token is required.", none())
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "FORBIDDEN", "The token does not allow this.", none()),
            Self::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND", "There is no such route.", none()),
            Self::InstanceNotFound => {
                (StatusCode::NOT_FOUND, "INSTANCE_NOT_FOUND", "There is no such instance here.", none())
            }
            Self::WebhookNotFound => {
                (StatusCode::NOT_FOUND, "WEBHOOK_NOT_FOUND", "There is no such webhook.", none())
            }
            Self::QrNotAvailable(status) => (
                StatusCode::NOT_FOUND,
                "QR_NOT_AVAILABLE",
                "There is no QR code to scan in this state.",
                json!({ "status": status.as_str() }),
            ),
            Self::CallNotFound(id) => (
                StatusCode::NOT_FOUND,
                "CALL_NOT_FOUND",
                "No call rings under this id.",
                json!({ "call_id": id }),
            ),
            Self::PairingCodeRefused(code) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "PAIRING_CODE_REFUSED",
                "WhatsApp refused to link this number by code; link with the QR code.",
                json!({ "whatsapp_code": code }),
            ),
            Self::PasskeyNotAwaited(status) => (
                StatusCode::CONFLICT,
                "PASSKEY_NOT_AWAITED",
                "The linking does not wait for this in its state; GET /passkey shows what it waits for.",
                json!({ "status": status }),
            ),
            Self::PasskeyRefused(code) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "PASSKEY_REFUSED",
                "WhatsApp refused what the passkey signed; sign the new challenge of GET /passkey.",
                json!({ "whatsapp_code": code }),
            ),
            Self::MessageNotFound(id) => (
                StatusCode::NOT_FOUND,
                "MESSAGE_NOT_FOUND",
                "The message is not known in this chat.",
                json!({ "message_id": id }),
            ),
            Self::QueueFull => (
                StatusCode::SERVICE_UNAVAILABLE,
                "QUEUE_FULL",
                "As many messages wait for their time as may; try again later.",
                none(),
            ),
            Self::AlreadySent(id) => (
                StatusCode::CONFLICT,
                "ALREADY_SENT",
                "The message has left already.",
                json!({ "message_id": id }),
            ),
            Self::BatchNotFound(id) => (
                StatusCode::NOT_FOUND,
                "BATCH_NOT_FOUND",
                "There is no such batch.",
                json!({ "batch_id": id }),
            ),
            Self::NotForwardable(why) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "VALIDATION_ERROR",
                "The given data was invalid.",
                json!({ "message_id": [why] }),
            ),
            Self::ChatNotFound(chat) => (
                StatusCode::NOT_FOUND,
                "CHAT_NOT_FOUND",
                "There is no chat with this number or id.",
                json!({ "chat": chat }),
            ),
            Self::ContactNotFound(contact) => (
                StatusCode::NOT_FOUND,
                "CONTACT_NOT_FOUND",
                "Nothing is known of this contact.",
                json!({ "contact": contact }),
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                "The route does not take this method.",
                none(),
            ),
            Self::IdempotencyConflict => (
                StatusCode::CONFLICT,
                "IDEMPOTENCY_CONFLICT",
                "The Idempotency-Key was used with another body.",
                none(),
            ),
            Self::PayloadTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "PAYLOAD_TOO_LARGE",
                "The request body is larger than 1 MiB.",
                none(),
            ),
            Self::Validation(faults) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "VALIDATION_ERROR",
                "The given data was invalid.",
                faults.into_details(),
            ),
            Self::NotOnWhatsapp(recipient) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "RECIPIENT_NOT_ON_WHATSAPP",
                "The recipient has no WhatsApp account.",
                json!({ "recipient": recipient }),
            ),
            Self::RateLimited { limit, window_seconds, retry_after } => (
                StatusCode::TOO_MANY_REQUESTS,
                "RATE_LIMIT_EXCEEDED",
                "Too many requests; try again later.",
                json!({ "limit": limit, "window_seconds": window_seconds, "retry_after": retry_after }),
            ),
            Self::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "An internal error occurred.", none())
            }
            Self::DownloadFailed { url, reason } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "MEDIA_DOWNLOAD_FAILED",
                "The file could not be downloaded.",
                json!({ "media_url": url, "reason": reason }),
            ),
            Self::TooLarge { size, limit } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "MEDIA_TOO_LARGE",
                "The file is larger than its type may be.",
                json!({ "size": size, "limit": limit }),
            ),
            Self::UnsupportedFormat { media_type, detected } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "UNSUPPORTED_MEDIA_FORMAT",
                "The file is not of a format that can be sent as this type.",
                json!({ "media_type": media_type, "detected": detected }),
            ),
            Self::SendTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "SEND_TIMEOUT",
                "Fetching and uploading the file took too long.",
                none(),
            ),
            Self::MediaServers => (
                StatusCode::SERVICE_UNAVAILABLE,
                "MEDIA_SERVER_FAILED",
                "WhatsApp's media servers could not be used; try again later.",
                none(),
            ),
            Self::GroupNotFound => (
                StatusCode::NOT_FOUND,
                "GROUP_NOT_FOUND",
                "There is no such group, or the account is not in it.",
                none(),
            ),
            Self::BusinessNotFound => (
                StatusCode::NOT_FOUND,
                "BUSINESS_NOT_FOUND",
                "This number does not belong to a business account.",
                none(),
            ),
            Self::QuickReplyNotFound(id) => (
                StatusCode::NOT_FOUND,
                "QUICK_REPLY_NOT_FOUND",
                "There is no quick reply with this id.",
                json!({ "quick_reply": id }),
            ),
            Self::LabelNotFound(id) => (
                StatusCode::NOT_FOUND,
                "LABEL_NOT_FOUND",
                "There is no label with this id.",
                json!({ "label": id }),
            ),
            Self::Refused(code) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "OPERATION_REFUSED",
                "WhatsApp refused.",
                json!({ "whatsapp_code": code }),
            ),
            Self::GroupRefused(code, participants) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "GROUP_OPERATION_FAILED",
                "WhatsApp refused.",
                match code {
                    Some(code) => json!({ "whatsapp_code": code }),
                    None => json!({ "participants": participants }),
                },
            ),
            Self::NewsletterNotFound => {
                (StatusCode::NOT_FOUND, "NEWSLETTER_NOT_FOUND", "There is no such newsletter.", none())
            }
            Self::NewsletterRefused(code) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "NEWSLETTER_OPERATION_FAILED",
                "WhatsApp refused.",
                json!({ "whatsapp_code": code }),
            ),
            Self::FileNotFound => {
                (StatusCode::NOT_FOUND, "MESSAGE_NOT_FOUND", "There is no message with such a file.", none())
            }
            Self::FileGone => (
                StatusCode::NOT_FOUND,
                "MEDIA_GONE",
                "WhatsApp's servers and the phone do not have the file any more.",
                none(),
            ),
            Self::FileNotAuthentic => (
                StatusCode::NOT_FOUND,
                "MEDIA_GONE",
                "What WhatsApp's servers have is not the file that the message announced.",
                json!({ "reason": "not_authentic" }),
            ),
            Self::SendFailed { code, .. } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "SEND_FAILED",
                "WhatsApp refused the message.",
                json!({ "whatsapp_code": code }),
            ),
            Self::NotConnected(status) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "INSTANCE_NOT_CONNECTED",
                "The instance is not connected to WhatsApp.",
                json!({ "status": status.as_str() }),
            ),
        }
    }
}

impl ApiError {
    /// The member `error` of its answer.
    pub(super) fn explained(self) -> (StatusCode, Value) {
        let (status, code, message, details) = self.row();
        (status, json!({ "code": code, "message": message, "details": details }))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let extra = match &self {
            Self::Unauthenticated => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::RateLimited { retry_after, .. } => {
                Some((header::RETRY_AFTER, HeaderValue::from(*retry_after)))
            }
            Self::SendFailed { replayed: true, .. } => Some(reply::REPLAYED),
            _ => None,
        };
        let (status, error) = self.explained();
        let body = json!({ "success": false, "error": error });
        let mut response = reply::json(status, &body);
        response.headers_mut().extend(extra);
        response
    }
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NotConnected(status) => Self::NotConnected(status),
            SendError::UnknownMessage(id) => Self::MessageNotFound(id),
            SendError::QueueFull => Self::QueueFull,
            SendError::NotForwardable(why) => Self::NotForwardable(why),
            SendError::UnknownChat(chat) => Self::ChatNotFound(chat),
            SendError::NotOnWhatsapp(recipient) => Self::NotOnWhatsapp(recipient),
            SendError::NobodyKnown => {
                let mut faults = Faults::default();
                faults.add("recipients", NOBODY_KNOWN);
                Self::Validation(faults)
            }
            SendError::IdempotencyConflict => Self::IdempotencyConflict,
            SendError::Refused { code, replayed, .. } => Self::SendFailed { code, replayed },
            SendError::Internal => Self::Internal,
        }
    }
}

impl From<FileError> for ApiError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Send(error) => error.into(),
            FileError::Download { url, reason } => Self::DownloadFailed { url, reason },
            FileError::TooLarge { size, limit } => Self::TooLarge { size, limit },
            FileError::Unsupported { media_type, detected } => {
                Self::UnsupportedFormat { media_type, detected }
            }
            FileError::Timeout => Self::SendTimeout,
            FileError::Unknown => Self::FileNotFound,
            // What is there is not what was sent: nothing that a caller should get hold of.
            FileError::NotAuthentic(_) => Self::FileNotAuthentic,
            FileError::Gone => Self::FileGone,
            FileError::Servers => Self::MediaServers,
            FileError::Internal => Self::Internal,
        }
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        tracing::error!(%error, "the store refused a request's work");
        Self::Internal
    }
}
