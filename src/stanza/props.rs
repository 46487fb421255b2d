//! Server properties ("AB props"): switches and numbers that the server sets for a client (protocol 05, 17).

use super::{Iq, IqKind};
use crate::wire::Node;

/// Properties of one answer that are looked at. A real answer has about two thousand.
const MOST: usize = 10_000;

/// Client → server: what is set? With the hash of the last answer none are told if nothing has changed.
pub fn props_query(id: &str, hash: Option<&str>) -> Node {
    let props = Node::new("props").attr("protocol", "1").attr_opt("hash", hash.map(str::to_owned));
    Iq::query(id, IqKind::Get, "abt").child(props)
}

/// Server → client: these, by number.
pub fn props_answer<'a>(id: &str, hash: &str, props: impl IntoIterator<Item = (u32, &'a str)>) -> Node {
    let prop = |(code, value): (u32, &str)| {
        Node::new("prop").attr("config_code", code).attr("config_value", value.to_owned())
    };
    let all = Node::new("props").attr("protocol", "1").attr("hash", hash.to_owned());
    Iq::result(id).child(all.children_from(props.into_iter().map(prop)))
}

/// Those of an answer for which `wanted` says so.
pub fn read_props(node: &Node, wanted: impl Fn(u32) -> bool) -> Vec<(u32, String)> {
    let props = node.find("props").into_iter().flat_map(|props| props.find_all("prop")).take(MOST);
    let read = |prop: &Node| {
        let code = prop.number("config_code").filter(|code| wanted(*code))?;
        Some((code, prop.text("config_value")?.to_owned()))
    };
    props.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_is_read() {
        let answer = props_answer("1", "h", [(10_518, "1"), (5, "x")]);
        assert_eq!(read_props(&answer, |code| code == 10_518), [(10_518, "1".to_owned())]);
        assert_eq!(read_props(&Node::new("iq"), |_| true), []);
    }
}
