//! App state on the wire (protocol 04, 12 to 14): one query fetches collections or uploads a patch, one notification says
//! that a collection has moved.

use super::{Iq, IqKind, Malformed, Notification, text};
use crate::{
    crypto::app_state::Collection,
    wire::{Jid, Node},
};

/// What is asked of one collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionQuery {
    /// Which.
    pub collection: Collection,
    /// Where the asking device stands; 0: nowhere yet.
    pub version: u64,
    /// It would take a snapshot.
    pub snapshot: bool,
    /// A patch on top of that version.
    pub patch: Option<Vec<u8>>,
}

/// What became of one collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionAnswer {
    /// Which.
    pub collection: Collection,
    /// Where it stands now.
    pub version: Option<u64>,
    /// There is more behind the last patch.
    pub more: bool,
    /// Serialized ExternalBlobReference.
    pub snapshot: Option<Vec<u8>>,
    /// Serialized SyncdPatches, oldest first.
    pub patches: Vec<Vec<u8>>,
    /// 409: the upload was not on top; its patches are what came between.
    pub error: Option<u16>,
}

impl CollectionQuery {
    /// The client's query.
    pub fn build(id: &str, queries: &[Self]) -> Node {
        let collections = queries.iter().map(|query| {
            // WhatsApp Web names no version where it asks for a snapshot.
            let version = (!query.snapshot).then_some(query.version);
            Node::new("collection")
                .attr("name", query.collection.as_str())
                .attr_opt("version", version)
                .attr("return_snapshot", if query.snapshot { "true" } else { "false" })
                .child_opt(query.patch.clone().map(|patch| Node::new("patch").bytes(patch)))
        });
        let sync = Node::new("sync").children_from(collections);
        Iq::query(id, IqKind::Set, "w:sync:app:state").child(sync)
    }

    /// Reads any client's query.
    pub fn parse_all(node: &Node) -> Result<Vec<Self>, Malformed> {
        let sync = node.find("sync").ok_or(Malformed("sync"))?;
        sync.find_all("collection")
            .map(|node| {
                let patch = node.find("patch").and_then(Node::content_bytes);
                Ok(Self {
                    collection: Collection::parse(&text(node, "name")?).ok_or(Malformed("name"))?,
                    version: match node.text("version") {
                        Some(_) => node.number("version").ok_or(Malformed("version"))?,
                        None => 0,
                    },
                    snapshot: node.text("return_snapshot") == Some("true"),
                    patch: patch.map(std::borrow::Cow::into_owned),
                })
            })
            .collect()
    }
}

impl CollectionAnswer {
    /// Nothing new.
    pub const fn empty(collection: Collection) -> Self {
        Self { collection, version: None, more: false, snapshot: None, patches: Vec::new(), error: None }
    }

    /// The server's answer.
    pub fn build(id: &str, answers: &[Self]) -> Node {
        let collections = answers.iter().map(|answer| {
            let patches = answer.patches.iter().map(|patch| Node::new("patch").bytes(patch.clone()));
            let patches = (!answer.patches.is_empty()).then(|| Node::new("patches").children_from(patches));
            let error = answer.error.map(|code| {
                let word = if code == 409 { "conflict" } else { "bad-request" };
                Node::new("error").attr("code", u32::from(code)).attr("text", word)
            });
            Node::new("collection")
                .attr("name", answer.collection.as_str())
                .attr_opt("version", answer.version)
                .attr_opt("type", answer.error.map(|_| "error"))
                .attr_opt("has_more_patches", answer.more.then_some("true"))
                .child_opt(error)
                .child_opt(answer.snapshot.clone().map(|blob| Node::new("snapshot").bytes(blob)))
                .child_opt(patches)
        });
        Iq::result(id).child(Node::new("sync").children_from(collections))
    }

    /// Reads the server's answer. Collections that this program does not know are left out.
    pub fn parse_all(node: &Node) -> Result<Vec<Self>, Malformed> {
        let sync = node.find("sync").ok_or(Malformed("sync"))?;
        let bytes = |node: &Node| node.content_bytes().map(std::borrow::Cow::into_owned);
        let answer = |node: &Node| {
            let collection = node.text("name").and_then(Collection::parse)?;
            let error = node.find("error");
            let failed = node.text("type") == Some("error") || error.is_some();
            // whatsmeow also reads patches that stand beside the list.
            let list = node.find("patches").unwrap_or(node);
            Some(Self {
                collection,
                version: node.number("version"),
                more: node.text("has_more_patches") == Some("true"),
                snapshot: node.find("snapshot").and_then(bytes).filter(|bytes| !bytes.is_empty()),
                patches: list.find_all("patch").filter_map(bytes).collect(),
                error: failed.then(|| error.and_then(|error| error.number("code")).unwrap_or(500)),
            })
        };
        Ok(sync.find_all("collection").filter_map(answer).collect())
    }
}

/// The notification that a collection has moved; one collection each, as Baileys looks at the first only.
pub fn server_sync(id: &str, collection: Collection, version: u64, t: u64) -> Node {
    let moved = Node::new("collection").attr("name", collection.as_str()).attr("version", version);
    Notification::frame(id, &Jid::server_itself(), "server_sync", t).child(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_answers_read_as_they_were_built() {
        let queries = [
            CollectionQuery {
                collection: Collection::RegularLow,
                version: 7,
                snapshot: false,
                patch: Some(vec![1, 2]),
            },
            CollectionQuery {
                collection: Collection::CriticalBlock,
                version: 0,
                snapshot: true,
                patch: None,
            },
        ];
        assert_eq!(CollectionQuery::parse_all(&CollectionQuery::build("1", &queries)).unwrap(), queries);
        let answers = [
            CollectionAnswer::empty(Collection::Regular),
            CollectionAnswer {
                version: Some(9),
                more: true,
                patches: vec![vec![1], vec![2, 3]],
                error: Some(409),
                ..CollectionAnswer::empty(Collection::RegularHigh)
            },
            CollectionAnswer {
                snapshot: Some(vec![7]),
                version: Some(3),
                ..CollectionAnswer::empty(Collection::CriticalBlock)
            },
        ];
        assert_eq!(CollectionAnswer::parse_all(&CollectionAnswer::build("1", &answers)).unwrap(), answers);
    }

    #[test]
    fn what_is_no_collection_is_refused_or_left_out() {
        let sync = |collection: Node| {
            Iq::query("1", IqKind::Set, "w:sync:app:state").child(Node::new("sync").child(collection))
        };
        let unknown = sync(Node::new("collection").attr("name", "irregular"));
        assert!(CollectionQuery::parse_all(&unknown).is_err());
        assert_eq!(CollectionAnswer::parse_all(&unknown).unwrap(), []);
        let version = sync(Node::new("collection").attr("name", "regular").attr("version", "x"));
        assert!(CollectionQuery::parse_all(&version).is_err());
        assert!(CollectionAnswer::parse_all(&Iq::result("1")).is_err());
    }
}
