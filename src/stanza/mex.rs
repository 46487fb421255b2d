//! MEX: questions in the form of GraphQL, by the number of a stored query, and what the server pushes in the same form
//! (protocol 05, 14; 06, 2.5).

use serde_json::{Value, json};

use super::{Iq, IqKind};
use crate::wire::Node;

/// Largest document that is read. Real ones have some kilobytes, lists of newsletters some hundred.
const LARGEST: usize = 4 << 20;

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MexError {
    /// With this code, of the query itself or of the document.
    #[error("refused with {0}")]
    Refused(u16),
    /// Nothing that can be read.
    #[error("unreadable")]
    Unreadable,
}

/// Client → server.
pub fn mex_query(id: &str, query_id: &str, variables: &Value) -> Node {
    let body = json!({ "variables": variables }).to_string();
    Iq::query(id, IqKind::Get, "w:mex")
        .child(Node::new("query").attr("query_id", query_id.to_owned()).bytes(body))
}

/// Which stored query a client asks, and with what.
pub fn read_mex_query(node: &Node) -> Option<(String, Value)> {
    let query = node.find("query")?;
    let body: Value = document(query)?;
    Some((query.text("query_id")?.to_owned(), body.get("variables").cloned().unwrap_or_default()))
}

/// Server → client.
pub fn mex_answer(id: &str, data: &Value) -> Node {
    Iq::result(id).child(Node::new("result").bytes(json!({ "data": data }).to_string()))
}

/// Server → client: the document has an error only.
pub fn mex_errors(id: &str, code: u16, message: &str) -> Node {
    let extensions =
        json!({ "error_code": code, "is_summary": true, "is_retryable": false, "severity": "CRITICAL" });
    let body = json!({ "data": null, "errors": [{ "message": message, "extensions": extensions }] });
    Iq::result(id).child(Node::new("result").bytes(body.to_string()))
}

/// `data` of an answer. An error that the server calls fatal counts, others stand beside the data.
pub fn read_mex_answer(node: &Node) -> Result<Value, MexError> {
    if let Some(refusal) = Iq::refusal(node) {
        return Err(MexError::Refused(refusal.code));
    }
    let body = node.find("result").and_then(document).ok_or(MexError::Unreadable)?;
    let errors = body.get("errors").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let code = |error: &Value| error.pointer("/extensions/error_code").and_then(Value::as_u64);
    let summary = |error: &&Value| error.pointer("/extensions/is_summary") == Some(&Value::Bool(true));
    let data = body.get("data").filter(|data| !data.is_null());
    let fatal = errors.iter().find(summary).or_else(|| errors.first().filter(|_| data.is_none()));
    match (fatal, data) {
        (Some(error), _) => {
            Err(MexError::Refused(code(error).and_then(|code| u16::try_from(code).ok()).unwrap_or(500)))
        }
        (None, Some(data)) => Ok(data.clone()),
        (None, None) => Err(MexError::Unreadable),
    }
}

/// Server → client, unasked.
#[derive(Clone, Debug, PartialEq)]
pub struct MexNotice {
    /// What it is about.
    pub operation: String,
    /// What changed.
    pub data: Value,
}

impl MexNotice {
    /// Reads `<notification type="mex"><update op_name>…`.
    pub fn parse(node: &Node) -> Option<Self> {
        let update = node.find("update")?;
        let mut body = document(update)?;
        Some(Self { operation: update.text("op_name")?.to_owned(), data: body.get_mut("data")?.take() })
    }

    /// Puts it into the frame of a notification.
    pub fn build(&self, frame: Node) -> Node {
        let body = json!({ "data": self.data }).to_string();
        frame.child(Node::new("update").attr("op_name", self.operation.clone()).bytes(body))
    }
}

/// The document in a node, whether as bytes or as text.
fn document(node: &Node) -> Option<Value> {
    let bytes = node.content_bytes().filter(|bytes| bytes.len() <= LARGEST)?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{stanza::Notification, wire::Jid};

    #[test]
    fn questions_answers_and_notices_are_read_as_they_were_built() {
        let asked = mex_query("1", "23983697327930364", &json!({ "a": 1 }));
        assert_eq!(read_mex_query(&asked), Some(("23983697327930364".into(), json!({ "a": 1 }))));
        assert_eq!(read_mex_answer(&mex_answer("1", &json!({ "x": null }))), Ok(json!({ "x": null })));
        assert_eq!(read_mex_answer(&mex_errors("1", 404, "no")), Err(MexError::Refused(404)));
        assert_eq!(read_mex_answer(&Iq::error("1", 463, "no")), Err(MexError::Refused(463)));
        let notice = MexNotice { operation: "Op".into(), data: json!({ "y": true }) };
        let frame = Notification::frame("1", &Jid::server_itself(), "mex", 1);
        assert_eq!(MexNotice::parse(&notice.build(frame)), Some(notice));
    }

    #[test]
    fn an_error_beside_data_that_is_no_summary_does_not_count() {
        let body = json!({ "data": { "x": 1 }, "errors": [{ "message": "partly" }] }).to_string();
        let answer = Iq::result("1").child(Node::new("result").bytes(body));
        assert_eq!(read_mex_answer(&answer), Ok(json!({ "x": 1 })));
        let body = json!({ "errors": [{ "extensions": { "error_code": 429 } }] }).to_string();
        let answer = Iq::result("1").child(Node::new("result").bytes(body));
        assert_eq!(read_mex_answer(&answer), Err(MexError::Refused(429)));
    }

    proptest! {
        #[test]
        fn any_document_is_read_or_refused(text in ".{0,200}") {
            let bytes = text.into_bytes();
            let _ = read_mex_answer(&Iq::result("1").child(Node::new("result").bytes(bytes.clone())));
            let frame = Notification::frame("1", &Jid::server_itself(), "mex", 1);
            let _ = MexNotice::parse(&frame.child(Node::new("update").attr("op_name", "Op").bytes(bytes)));
        }
    }
}
