//! Nodes: a tag, attributes, content. Building, reading, and two ways of showing them.

use std::{borrow::Cow, fmt, str::FromStr};

use super::Jid;

mod show;

/// Text that costs nothing where it is a literal or a dictionary token.
pub type Text = Cow<'static, str>;

/// An attribute's value. A text is never taken for a JID because of an `@` in it.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Token, packed or raw string.
    Text(Text),
    /// One of the JID forms.
    Jid(Jid),
}

/// What stands between a node's tags.
#[derive(Clone, PartialEq, Default)]
pub enum Content {
    /// Nothing.
    #[default]
    Empty,
    /// Children. An empty list differs on the wire from nothing; clients treat both alike.
    Nodes(Vec<Node>),
    /// Raw bytes. Text for other clients belongs here too.
    Bytes(Vec<u8>),
    /// A token or packed string. Any other text is written as raw bytes and comes back as [`Content::Bytes`].
    Text(Text),
    /// One of the JID forms.
    Jid(Jid),
}

/// One element of a stanza.
#[derive(Clone, PartialEq)]
pub struct Node {
    /// Never empty on the wire.
    pub tag: Text,
    /// In wire order, which means nothing.
    pub attrs: Vec<(Text, Value)>,
    /// Children, bytes, text.
    pub content: Content,
}

impl Node {
    /// Without attributes and content.
    pub fn new(tag: impl Into<Text>) -> Self {
        Self { tag: tag.into(), attrs: Vec::new(), content: Content::Empty }
    }

    // building

    /// Sets an attribute; an earlier value of that key is replaced.
    pub fn attr(mut self, key: impl Into<Text>, value: impl Into<Value>) -> Self {
        let (key, value) = (key.into(), value.into());
        match self.attrs.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => *old = value,
            None => self.attrs.push((key, value)),
        }
        self
    }

    /// Sets an attribute if there is a value.
    pub fn attr_opt(self, key: impl Into<Text>, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.attr(key, value),
            None => self,
        }
    }

    /// Appends a child; content that is no list is replaced.
    pub fn child(mut self, node: Node) -> Self {
        match &mut self.content {
            Content::Nodes(nodes) => nodes.push(node),
            other => *other = Content::Nodes(vec![node]),
        }
        self
    }

    /// Appends a child if there is one.
    pub fn child_opt(self, node: Option<Node>) -> Self {
        match node {
            Some(node) => self.child(node),
            None => self,
        }
    }

    /// Appends children; none at all leaves the node as it is.
    pub fn children_from(self, nodes: impl IntoIterator<Item = Node>) -> Self {
        nodes.into_iter().fold(self, Self::child)
    }

    /// Raw content. Text goes here as well: whatsmeow reads text content only as bytes.
    pub fn bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.content = Content::Bytes(bytes.into());
        self
    }

    /// Any content.
    pub fn with_content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    // reading

    /// The attribute of that key; the first where a peer sent several.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.attrs.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// The attribute as text; `None` if absent or a JID.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Text(text) => Some(text),
            Value::Jid(_) => None,
        }
    }

    /// The attribute as a JID token; a text that parses as one is accepted too.
    pub fn jid(&self, key: &str) -> Option<Jid> {
        match self.get(key)? {
            Value::Jid(jid) => Some(jid.clone()),
            Value::Text(text) => text.parse().ok(),
        }
    }

    /// A decimal attribute.
    pub fn number<T: FromStr>(&self, key: &str) -> Option<T> {
        self.text(key)?.parse().ok()
    }

    /// Whether the attribute is there, of whatever kind.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The children; none if the content is something else.
    pub fn children(&self) -> &[Node] {
        match &self.content {
            Content::Nodes(nodes) => nodes,
            _ => &[],
        }
    }

    /// The first child of that tag.
    pub fn find(&self, tag: &str) -> Option<&Node> {
        self.children().iter().find(|node| node.tag == tag)
    }

    /// All children of that tag.
    pub fn find_all<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = &'a Node> {
        self.children().iter().filter(move |node| node.tag == tag)
    }

    /// Content as bytes: raw bytes, or the bytes of a text or JID (clients send some numbers as tokens).
    pub fn content_bytes(&self) -> Option<Cow<'_, [u8]>> {
        match &self.content {
            Content::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
            Content::Text(text) => Some(Cow::Borrowed(text.as_bytes())),
            Content::Jid(jid) => Some(Cow::Owned(jid.to_wire().into_bytes())),
            Content::Empty | Content::Nodes(_) => None,
        }
    }
}

impl From<&'static str> for Value {
    fn from(v: &'static str) -> Self {
        Self::Text(Cow::Borrowed(v))
    }
}

impl From<String> for Value {
    fn from(v: String) -> Self {
        Self::Text(Cow::Owned(v))
    }
}

impl From<Text> for Value {
    fn from(v: Text) -> Self {
        Self::Text(v)
    }
}

impl From<Jid> for Value {
    fn from(v: Jid) -> Self {
        Self::Jid(v)
    }
}

impl From<&Jid> for Value {
    fn from(v: &Jid) -> Self {
        Self::Jid(v.clone())
    }
}

/// The tokens `true` and `false`.
impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Self::from(if v { "true" } else { "false" })
    }
}

macro_rules! decimal_values {
    ($($number:ty),*) => {$(
        impl From<$number> for Value {
            fn from(v: $number) -> Self {
                Self::Text(Cow::Owned(v.to_string()))
            }
        }
    )*};
}
decimal_values!(u8, u16, u32, u64, usize, i64);

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show::value(f, "", self)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show::content(f, self)
    }
}

/// XML-like text with every person's number replaced by a log token and bytes by their length.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show::node(f, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reads_as_it_was_built() {
        let node = Node::new("iq")
            .attr("to", Jid::server_itself())
            .attr("id", "1")
            .attr("id", "2")
            .attr("t", 1_700_000_000_u64)
            .attr("from", "1:2@lid".to_owned())
            .attr_opt("absent", None::<&'static str>)
            .child(Node::new("user").attr("n", 1_u32))
            .child_opt(None)
            .children_from([Node::new("device"), Node::new("user").bytes("hi")]);
        assert_eq!((node.text("id"), node.attrs.len()), (Some("2"), 4));
        assert_eq!((node.text("to"), node.jid("to")), (None, Some(Jid::server_itself())));
        assert_eq!(node.jid("from"), Some(Jid::lid("1").with_device(2)));
        assert_eq!((node.number("t"), node.number::<u8>("t")), (Some(1_700_000_000_u64), None));
        assert!(node.has("id") && !node.has("absent"));
        assert_eq!(node.find_all("user").count(), 2);
        assert_eq!(node.find("user").and_then(|n| n.number("n")), Some(1_u8));
        assert_eq!(node.children()[2].content_bytes().as_deref(), Some(b"hi".as_slice()));
        assert_eq!(node.content_bytes(), None);
        let code = Node::new("code").with_content(Content::Text("1".into()));
        assert_eq!(code.content_bytes().as_deref(), Some(b"1".as_slice()));
    }
}
