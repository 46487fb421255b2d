//! The account's privacy settings: `<privacy><category name value/>…</privacy>`, as queries, answers and notifications
//! carry them.

use super::{Iq, IqKind};
use crate::wire::Node;

/// Client → server: how do the settings stand?
pub fn privacy_query(id: &str) -> Node {
    Iq::query(id, IqKind::Get, "privacy").child(Node::new("privacy"))
}

/// Client → server: one setting, as the apps send it.
pub fn privacy_change(id: &str, name: &str, value: &str) -> Node {
    Iq::query(id, IqKind::Set, "privacy").child(privacy([(name, value)]))
}

/// Settings by WhatsApp's names.
pub fn privacy<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Node {
    let categories = settings.into_iter().map(|(name, value)| {
        Node::new("category").attr("name", name.to_owned()).attr("value", value.to_owned())
    });
    Node::new("privacy").children_from(categories)
}

/// Reads what `stanza` says of settings; those that it does not name stay as they are.
pub fn read_privacy(stanza: &Node) -> Vec<(String, String)> {
    let categories = stanza.find("privacy").into_iter().flat_map(|privacy| privacy.find_all("category"));
    categories.filter_map(|one| Some((one.text("name")?.to_owned(), one.text("value")?.to_owned()))).collect()
}
