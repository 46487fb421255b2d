//! Media: where to upload (`<media_conn>`), and asking the own phone to upload again (`<receipt type="server-error">`,
//! answered by `<notification type="mediaretry">`).

use super::{Iq, IqKind, Malformed, Notification, bytes, jid, text};
use crate::{
    crypto::media::retry::Sealed,
    wire::{Jid, Node},
};

/// Hosts of an answer that count; real ones name two or three.
const MAX_HOSTS: usize = 16;

/// Asks for the media hosts.
pub fn media_conn_query(id: &str) -> Node {
    Iq::query(id, IqKind::Set, "w:m").child(Node::new("media_conn"))
}

/// A media server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaHost {
    /// `name` or `name:port`; HTTPS always.
    pub hostname: String,
    /// `type="primary"`, not `fallback`.
    pub primary: bool,
    /// Takes its place where it does not answer.
    pub fallback_hostname: Option<String>,
}

/// Where media go, and with which permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaConn {
    /// Of every upload's query; `[A-Za-z0-9_-]`.
    pub auth: String,
    /// Seconds that the hosts are good for.
    pub ttl: u32,
    /// Seconds that `auth` is good for, where told.
    pub auth_ttl: Option<u32>,
    /// Without a use for us.
    pub max_buckets: Option<u32>,
    /// In the server's order.
    pub hosts: Vec<MediaHost>,
}

impl MediaConn {
    /// The server's answer.
    pub fn build(&self, id: &str) -> Node {
        let hosts = self.hosts.iter().map(|host| {
            Node::new("host")
                .attr("hostname", host.hostname.clone())
                .attr("type", if host.primary { "primary" } else { "fallback" })
                .attr_opt("fallback_hostname", host.fallback_hostname.clone())
        });
        let conn = Node::new("media_conn")
            .attr("auth", self.auth.clone())
            .attr("ttl", self.ttl)
            .attr_opt("auth_ttl", self.auth_ttl)
            .attr_opt("max_buckets", self.max_buckets)
            .children_from(hosts);
        Iq::result(id).child(conn)
    }

    /// Reads it. At least one host is named.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let conn = node.find("media_conn").ok_or(Malformed("media_conn"))?;
        let hosts: Vec<MediaHost> = conn
            .find_all("host")
            .take(MAX_HOSTS)
            .map(|host| {
                Ok(MediaHost {
                    hostname: text(host, "hostname")?,
                    primary: host.text("type") == Some("primary"),
                    fallback_hostname: host.text("fallback_hostname").map(str::to_owned),
                })
            })
            .collect::<Result<_, Malformed>>()?;
        if hosts.is_empty() {
            return Err(Malformed("host"));
        }
        Ok(Self {
            auth: text(conn, "auth")?,
            ttl: conn.number("ttl").unwrap_or(0),
            auth_ttl: conn.number("auth_ttl"),
            max_buckets: conn.number("max_buckets"),
            hosts,
        })
    }

    /// Seconds that the whole answer is good for.
    pub fn good_for(&self) -> u32 {
        self.ttl.min(self.auth_ttl.unwrap_or(u32::MAX))
    }

    /// Every host once, in the order to be tried: primaries, the others, then fallbacks.
    pub fn in_order(&self) -> Vec<String> {
        let primary = self.hosts.iter().filter(|host| host.primary).map(|host| &host.hostname);
        let others = self.hosts.iter().filter(|host| !host.primary).map(|host| &host.hostname);
        let fallbacks = self.hosts.iter().filter_map(|host| host.fallback_hostname.as_ref());
        let mut order: Vec<String> = Vec::new();
        for host in primary.chain(others).chain(fallbacks) {
            if !order.contains(host) {
                order.push(host.clone());
            }
        }
        order
    }
}

/// Which message a retry is about: `<rmr>`, beside the message's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaOf {
    /// Id of the message.
    pub id: String,
    /// The chat it is in.
    pub chat: Jid,
    /// It was sent by the own account.
    pub from_me: bool,
    /// Its author, in groups.
    pub participant: Option<Jid>,
}

impl MediaOf {
    fn build(&self) -> Node {
        Node::new("rmr")
            .attr("jid", &self.chat)
            .attr("from_me", if self.from_me { "true" } else { "false" })
            .attr_opt("participant", self.participant.as_ref())
    }

    fn parse(node: &Node) -> Result<Self, Malformed> {
        let rmr = node.find("rmr").ok_or(Malformed("rmr"))?;
        Ok(Self {
            id: text(node, "id")?,
            chat: jid(rmr, "jid")?,
            from_me: rmr.text("from_me") == Some("true"),
            participant: rmr.jid("participant"),
        })
    }
}

fn sealed_node(sealed: &Sealed) -> Node {
    Node::new("encrypt")
        .child(Node::new("enc_p").bytes(sealed.ciphertext.clone()))
        .child(Node::new("enc_iv").bytes(sealed.iv.to_vec()))
}

fn read_sealed(node: &Node) -> Result<Sealed, Malformed> {
    let encrypt = node.find("encrypt").ok_or(Malformed("encrypt"))?;
    Sealed::new(bytes(encrypt, "enc_p")?, &bytes(encrypt, "enc_iv")?).map_err(|_| Malformed("enc_iv"))
}

/// Companion → own phone: the media of this message is gone from the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRetryRequest {
    /// The message.
    pub of: MediaOf,
    /// `to` on the way to the server: the own account; `from` on the way to the phone: the asking device.
    pub peer: Jid,
    /// Sealed with the media key.
    pub sealed: Sealed,
}

impl MediaRetryRequest {
    /// On its way to the server.
    pub fn build_to(&self) -> Node {
        self.build("to")
    }

    /// On its way to the phone.
    pub fn build_from(&self) -> Node {
        self.build("from")
    }

    fn build(&self, end: &'static str) -> Node {
        Node::new("receipt")
            .attr("id", self.of.id.clone())
            .attr(end, &self.peer)
            .attr("type", "server-error")
            .child(sealed_node(&self.sealed))
            .child(self.of.build())
    }

    /// As the phone gets it.
    pub fn parse_from(node: &Node) -> Result<Self, Malformed> {
        if node.text("type") != Some("server-error") {
            return Err(Malformed("type"));
        }
        Ok(Self { of: MediaOf::parse(node)?, peer: jid(node, "from")?, sealed: read_sealed(node)? })
    }
}

/// Own phone → companion: where it uploaded again, or that it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRetryAnswer {
    /// The message.
    pub of: MediaOf,
    /// The own account.
    pub from: Jid,
    /// Unix seconds.
    pub t: u64,
    /// Sealed with the media key; or, where the phone could not even seal, the code of `<error>`: 2 means that it has the
    /// file no more.
    pub outcome: Result<Sealed, u32>,
}

impl MediaRetryAnswer {
    /// The server's notification.
    pub fn build(&self) -> Node {
        let node = Notification::frame(&self.of.id, &self.from, "mediaretry", self.t);
        match &self.outcome {
            Ok(sealed) => node.child(self.of.build()).child(sealed_node(sealed)),
            Err(code) => node.child(self.of.build()).child(Node::new("error").attr("code", *code)),
        }
    }

    /// Reads a notification of type `mediaretry`.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        if node.text("type") != Some("mediaretry") {
            return Err(Malformed("type"));
        }
        let outcome = match node.find("error") {
            Some(error) => Err(error.number("code").unwrap_or(0)),
            None => Ok(read_sealed(node)?),
        };
        Ok(Self {
            of: MediaOf::parse(node)?,
            from: jid(node, "from")?,
            t: node.number("t").unwrap_or(0),
            outcome,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(hostname: &str, primary: bool, fallback: Option<&str>) -> MediaHost {
        MediaHost { hostname: hostname.into(), primary, fallback_hostname: fallback.map(str::to_owned) }
    }

    fn of() -> MediaOf {
        MediaOf { id: "3EB0AA".into(), chat: Jid::pn("5511999999999"), from_me: false, participant: None }
    }

    #[test]
    fn media_hosts_come_back_in_the_order_to_be_tried() {
        let conn = MediaConn {
            auth: "a-b_9".into(),
            ttl: 300,
            auth_ttl: Some(200),
            max_buckets: Some(12),
            hosts: vec![
                host("b.example", false, None),
                host("a.example:8443", true, Some("c.example")),
                host("d.example", true, Some("b.example")),
            ],
        };
        let parsed = MediaConn::parse(&conn.build("7")).unwrap();
        assert_eq!(parsed, conn);
        assert_eq!(parsed.in_order(), ["a.example:8443", "d.example", "b.example", "c.example"]);
        assert_eq!(parsed.good_for(), 200);
        assert_eq!(MediaConn { auth_ttl: None, ..parsed }.good_for(), 300);
    }

    #[test]
    fn an_answer_without_hosts_or_permission_is_none() {
        let answer = |conn| Iq::result("7").child(conn);
        let host = Node::new("host").attr("hostname", "a.example");
        for (node, missing) in [
            (Iq::result("7"), "media_conn"),
            (answer(Node::new("media_conn").attr("auth", "x")), "host"),
            (answer(Node::new("media_conn").attr("auth", "x").child(Node::new("host"))), "hostname"),
            (answer(Node::new("media_conn").child(host.clone())), "auth"),
        ] {
            assert_eq!(MediaConn::parse(&node), Err(Malformed(missing)));
        }
        let most = (0..100).map(|_| host.clone());
        let parsed = MediaConn::parse(&answer(Node::new("media_conn").attr("auth", "x").children_from(most)));
        assert_eq!(parsed.unwrap().hosts.len(), MAX_HOSTS);
    }

    #[test]
    fn a_request_for_another_upload_and_its_answer_come_back() {
        let sealed = Sealed { ciphertext: vec![1; 40], iv: [2; 12] };
        let own = Jid::pn("551188888888");
        let request = MediaRetryRequest { of: of(), peer: own.clone(), sealed: sealed.clone() };
        assert_eq!(MediaRetryRequest::parse_from(&request.build_from()), Ok(request.clone()));
        assert_eq!(request.build_to().jid("to"), Some(own.clone()));

        let in_group = MediaOf {
            chat: Jid::group("120363000000000000"),
            participant: Some(Jid::lid("77777777777").with_device(3)),
            ..of()
        };
        for outcome in [Ok(sealed), Err(2)] {
            let answer = MediaRetryAnswer { of: in_group.clone(), from: own.clone(), t: 9, outcome };
            assert_eq!(MediaRetryAnswer::parse(&answer.build()), Ok(answer));
        }
    }

    #[test]
    fn an_answer_without_its_parts_is_refused() {
        let frame = || Notification::frame("3EB0AA", &Jid::pn("551188888888"), "mediaretry", 1);
        let rmr = || of().build();
        let short = Sealed { ciphertext: vec![1], iv: [0; 12] };
        let mut bad_iv = sealed_node(&short);
        bad_iv = Node::new("encrypt")
            .children_from(bad_iv.children().first().cloned())
            .child(Node::new("enc_iv").bytes(vec![0; 11]));
        for (node, missing) in [
            (frame().child(sealed_node(&short)), "rmr"),
            (frame().child(rmr()), "encrypt"),
            (frame().child(rmr()).child(Node::new("encrypt")), "enc_p"),
            (frame().child(rmr()).child(bad_iv), "enc_iv"),
        ] {
            assert_eq!(MediaRetryAnswer::parse(&node), Err(Malformed(missing)));
        }
    }
}
