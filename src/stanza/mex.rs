//! GraphQL over queries (`w:mex`): a document that the server knows by its number, variables, and JSON back
//! (protocol 05, 14; Baileys `Socket/mex.ts`, whatsmeow `newsletter.go`, whatsapp-rust `wacore/src/iq/mex.rs`).

use serde_json::{Map, Value, json};

use super::{Iq, IqKind, Malformed, bytes, text};
use crate::wire::Node;

/// Longest answer that is looked at. Real ones have some kilobytes, lists some hundred.
const MAX_ANSWER: usize = 4 << 20;

/// A question by document.
#[derive(Clone, Debug, PartialEq)]
pub struct MexQuery {
    /// Decimal; it changes with the releases of WhatsApp Web.
    pub document: String,
    /// What the document asks with.
    pub variables: Value,
}

/// Why there is no data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MexError {
    /// As in HTTP.
    pub code: u16,
}

impl MexQuery {
    /// Builds the query; `get`, also where it changes something.
    pub fn build(&self, id: &str) -> Node {
        let query = Node::new("query")
            .attr("query_id", self.document.clone())
            .bytes(json!({ "variables": self.variables }).to_string());
        Iq::query(id, IqKind::Get, "w:mex").child(query)
    }

    /// Reads any client's query.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let query = node.find("query").ok_or(Malformed("query"))?;
        let content: Value =
            serde_json::from_slice(&bytes(node, "query")?).map_err(|_| Malformed("variables"))?;
        let variables = content.get("variables").cloned().unwrap_or_else(|| Value::Object(Map::new()));
        Ok(Self { document: text(query, "query_id")?, variables })
    }
}

/// The server's answer.
pub fn mex_answer(id: &str, data: &Value) -> Node {
    Iq::result(id).child(Node::new("result").bytes(json!({ "data": data }).to_string()))
}

/// The server's refusal.
pub fn mex_refusal(id: &str, code: u16, message: &str) -> Node {
    let error = json!({
        "message": message,
        "path": [],
        "extensions": {
            "error_code": code, "is_retryable": false, "severity": "CRITICAL", "is_summary": true,
        },
    });
    let body = json!({ "data": null, "errors": [error] });
    Iq::result(id).child(Node::new("result").bytes(body.to_string()))
}

/// What the answer holds under one of these names, the first that is there.
pub fn read_mex(node: &Node, paths: &[&str]) -> Result<Value, MexError> {
    if let Some(refusal) = Iq::refusal(node) {
        return Err(MexError { code: refusal.code });
    }
    let unreadable = MexError { code: 500 };
    let content = bytes(node, "result").map_err(|_| unreadable)?;
    if content.len() > MAX_ANSWER {
        return Err(unreadable);
    }
    let mut body: Value = serde_json::from_slice(&content).map_err(|_| unreadable)?;
    if let Some(error) = body.get("errors").and_then(Value::as_array).and_then(|all| all.first()) {
        let code = error.pointer("/extensions/error_code").and_then(Value::as_u64);
        return Err(MexError { code: code.and_then(|code| u16::try_from(code).ok()).unwrap_or(400) });
    }
    let data = body.get_mut("data").map(Value::take).unwrap_or_default();
    let found = paths.iter().find_map(|path| data.get(*path)).filter(|found| !found.is_null());
    found.cloned().ok_or(MexError { code: 404 })
}

/// What a `mex` notification tells: the operation, and its data.
pub fn read_mex_notice(node: &Node) -> Option<(String, Value)> {
    let update = node.find("update")?;
    let content = update.content_bytes().filter(|content| content.len() <= MAX_ANSWER)?;
    let mut body: Value = serde_json::from_slice(&content).ok()?;
    let data = body.get_mut("data").map(Value::take)?;
    Some((update.text("op_name")?.to_owned(), data))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_question_and_its_answers_are_read_as_they_were_written() {
        let query = MexQuery {
            document: "24404358912487870".into(),
            variables: json!({"newsletter_id": "1@newsletter"}),
        };
        assert_eq!(MexQuery::parse(&query.build("1")), Ok(query));
        let answer = mex_answer("1", &json!({"xwa2_newsletter": {"id": "1@newsletter"}}));
        assert_eq!(read_mex(&answer, &["x", "xwa2_newsletter"]), Ok(json!({"id": "1@newsletter"})));
        assert_eq!(read_mex(&answer, &["x"]), Err(MexError { code: 404 }));
        assert_eq!(read_mex(&mex_refusal("1", 403, "no"), &["x"]), Err(MexError { code: 403 }));
        assert_eq!(read_mex(&Iq::error("1", 429, "rate-overlimit"), &["x"]), Err(MexError { code: 429 }));
    }

    proptest! {
        #[test]
        fn whatever_is_in_an_answer_nothing_panics(content in any::<Vec<u8>>(), json in ".{0,64}") {
            for content in [content, json.into_bytes()] {
                let answer = Iq::result("1").child(Node::new("result").bytes(content.clone()));
                let _ = read_mex(&answer, &["a"]);
                let notice = Node::new("notification")
                    .child(Node::new("update").attr("op_name", "x").bytes(content.clone()));
                let _ = read_mex_notice(&notice);
                let _ = MexQuery::parse(&Iq::query("1", IqKind::Get, "w:mex")
                    .child(Node::new("query").attr("query_id", "1").bytes(content)));
            }
        }
    }
}
