//! Stories on a fake clock, without a socket.

use prost::Message as _;
use rand::{SeedableRng as _, rngs::StdRng};

use super::*;
use crate::{
    crypto::{
        KeyPair, adv,
        signal::{Local, OneTimePreKey, Session, SignedPreKey},
    },
    proto,
    stanza::{
        Ack, Enc, EncKind, Iq, IqKind, Outgoing, PairDevice, PairDeviceSign, PairSuccess, QrCode, Receipt,
        ReceiptKind, Retry, Upload, active, offline_batch,
    },
};

mod groups;
mod media;
mod newsletters;

struct Story {
    world: World,
    now: Millis,
    rng: StdRng,
    /// Everything that was sent, oldest first.
    out: Vec<(ConnId, Node)>,
    /// Connections the server closed.
    closed: Vec<ConnId>,
}

struct Companion {
    identity: KeyPair,
    noise: KeyPair,
    signed: SignedPreKey,
    jid: Jid,
    device_identity: Vec<u8>,
    conn: ConnId,
}

const SETTINGS: Settings = Settings { chatstate_ttl: Duration::from_secs(25), adv_strict: true };

impl Story {
    fn new() -> Self {
        let world = World::new(SETTINGS, StdRng::seed_from_u64(1));
        let now = Millis(1_800_000_000_000);
        Self { world, now, rng: StdRng::seed_from_u64(2), out: Vec::new(), closed: Vec::new() }
    }

    fn collect(&mut self) {
        for effect in self.world.take_effects() {
            match effect {
                Effect::Send(conn, node) => self.out.push((conn, node)),
                Effect::Close(conn) => {
                    self.closed.push(conn);
                    self.world.closed(conn, self.now);
                }
                Effect::Drop(_) | Effect::Freeze(..) | Effect::Keep(_) => {}
            }
        }
    }

    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(at) = self.world.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.world.tick(self.now);
            self.collect();
        }
        self.now = end;
    }

    fn says(&mut self, conn: ConnId, node: Node) {
        self.world.node(conn, node, self.now);
        self.collect();
    }

    /// What was sent to a connection since the last look.
    fn seen(&mut self, conn: ConnId) -> Vec<Node> {
        self.out.extract_if(.., |(to, _)| *to == conn).map(|(_, node)| node).collect()
    }

    fn seen_of(&mut self, conn: ConnId, tag: &str) -> Vec<Node> {
        self.seen(conn).into_iter().filter(|node| node.tag == tag).collect()
    }

    fn payload(&mut self, identity: &KeyPair, signed: &SignedPreKey, name: &str) -> Vec<u8> {
        proto::ClientPayload {
            push_name: Some(name.to_owned()),
            device_pairing_data: Some(proto::client_payload::DevicePairingData {
                e_regid: Some(vec![0, 0, 0, 9]),
                e_keytype: Some(vec![5]),
                e_ident: Some(identity.public.as_bytes().to_vec()),
                e_skey_id: Some(vec![0, 0, 1]),
                e_skey_val: Some(signed.key.as_bytes().to_vec()),
                e_skey_sig: Some(signed.signature.to_vec()),
                build_hash: Some(vec![0; 16]),
                device_props: Some(proto::DeviceProps::default().encode_to_vec()),
            }),
            ..Default::default()
        }
        .encode_to_vec()
    }

    /// Links a companion to the phone of that push name, logs it in, and answers its phone's first messages.
    fn link(&mut self, name: &str) -> Companion {
        // Who scans a code holds a phone that is on.
        self.switch_phones(true);
        let (identity, noise, prekey) = (
            KeyPair::generate(&mut self.rng),
            KeyPair::generate(&mut self.rng),
            KeyPair::generate(&mut self.rng),
        );
        let signature = identity.private.sign(&prekey.public.to_signal(), &mut self.rng);
        let signed = SignedPreKey { id: 1, key: prekey.public, signature };
        let payload = self.payload(&identity, &signed, name);
        let conn = self.world.opened(noise.public, &payload, self.now);
        self.collect();
        let pair = PairDevice::parse(&self.seen(conn)[0]).unwrap();
        self.says(conn, Iq::result_to_server(&pair.id));
        let secret = [7; 32];
        let qr = QrCode {
            reference: pair.refs[0].clone(),
            noise: noise.public,
            identity: identity.public,
            adv_secret: secret,
            client_type: '1',
        };
        self.world.scan_qr(&qr.build(), None, self.now).unwrap();
        self.collect();
        let success = PairSuccess::parse(&self.seen(conn)[0]).unwrap();
        let accepted = adv::accept(&success.container, &secret, &identity, &mut self.rng).unwrap();
        let sign = PairDeviceSign {
            id: success.id,
            key_index: accepted.key_index,
            identity: adv::without_account_key(&accepted.signed).unwrap(),
        };
        self.says(conn, sign.build());
        self.pass(1_000);
        assert_eq!(self.seen(conn)[0].text("code"), Some("515"));
        assert!(self.closed.contains(&conn));
        let mut companion =
            Companion { identity, noise, signed, jid: success.jid, device_identity: accepted.signed, conn };
        self.login(&mut companion);
        let keys =
            (1..=9).map(|id| OneTimePreKey { id, key: KeyPair::generate(&mut self.rng).public }).collect();
        let upload = Upload {
            registration_id: 9,
            identity: companion.identity.public,
            one_time: keys,
            signed: companion.signed.clone(),
        };
        self.says(companion.conn, upload.build("u"));
        self.activate(&companion);
        for _ in 0..4 {
            let [message] = &self.seen_of(companion.conn, "message")[..] else { panic!("a first message") };
            let from = message.jid("from").unwrap();
            assert_eq!(message.text("category"), Some("peer"));
            let receipt = Receipt::new(message.text("id").unwrap().to_owned(), from, ReceiptKind::PeerMsg);
            self.says(companion.conn, receipt.build_to());
        }
        assert_eq!(self.seen_of(companion.conn, "message"), []);
        companion
    }

    fn login(&mut self, companion: &mut Companion) {
        let payload = proto::ClientPayload {
            username: companion.jid.user().parse().ok(),
            device: Some(u32::from(companion.jid.device())),
            passive: Some(true),
            ..Default::default()
        };
        companion.conn = self.world.opened(companion.noise.public, &payload.encode_to_vec(), self.now);
        self.collect();
        let first = self.seen(companion.conn);
        assert_eq!(first[0].tag, "success");
    }

    fn activate(&mut self, companion: &Companion) {
        self.says(companion.conn, active("a"));
    }

    /// A message that looks right to a server. Its ciphertexts are noise: no phone of the story is switched on.
    fn text(&mut self, from: &Companion, id: &str, to: &[&Jid]) -> Node {
        let bundle = {
            let phone = self.world.phone(from.jid.user()).unwrap();
            self.world.device_mut(DeviceRef { account: phone, device: 0 }).unwrap().take_bundle()
        };
        let mut session = Session::default();
        let local = Local { identity: &from.identity, registration_id: 9 };
        session.initiate(&local, &bundle, &mut self.rng).unwrap();
        let enc = Enc::new(EncKind::PreKey, session.encrypt(b"x").unwrap().bytes);
        let participants = to.iter().map(|jid| ((*jid).clone(), Some(enc.clone()))).collect();
        Outgoing {
            participants,
            device_identity: Some(from.device_identity.clone()),
            ..Outgoing::text(id.into(), to[0].bare())
        }
        .build()
    }

    fn silence_phones(&mut self) {
        self.switch_phones(false);
    }

    fn switch_phones(&mut self, online: bool) {
        for n in 0..self.world.accounts.len() {
            self.world.switch(AccountId(n), online, self.now);
        }
        self.collect();
    }
}

/// Two linked companions whose phones are off.
fn pair() -> (Story, Companion, Companion) {
    let mut story = Story::new();
    let (ana, bia) = (story.link("Ana"), story.link("Bia"));
    story.silence_phones();
    (story, ana, bia)
}

#[test]
fn the_same_push_name_is_the_same_number_and_another_device() {
    let mut story = Story::new();
    let (first, second, other) = (story.link("Ana"), story.link("Ana"), story.link("Bia"));
    assert_eq!(first.jid.user(), second.jid.user());
    assert_eq!((first.jid.device(), second.jid.device()), (1, 2));
    assert_ne!(first.jid.user(), other.jid.user());
    assert!(first.jid.user().starts_with("55119") && first.jid.user().len() == 13);
}

#[test]
fn a_repeated_message_is_acked_again_and_delivered_once() {
    let (mut story, ana, bia) = pair();
    let message = story.text(&ana, "M1", &[&bia.jid]);
    story.says(ana.conn, message.clone());
    story.pass(5_000);
    story.says(ana.conn, message);
    let acks = story.seen_of(ana.conn, "ack");
    assert_eq!(acks.len(), 2);
    assert_eq!(acks[0].text("t"), acks[1].text("t"));
    assert_eq!(acks[0].text("error"), None);
    let delivered = story.seen_of(bia.conn, "message");
    assert_eq!(delivered.len(), 1);
    assert_eq!(delivered[0].jid("from"), Some(ana.jid.clone()));
    assert!(delivered[0].jid("sender_lid").unwrap().is_lid());
    assert_eq!(delivered[0].text("notify"), Some("Ana"));
}

#[test]
fn the_sender_is_acked_before_anybody_gets_the_message() {
    let (mut story, ana, bia) = pair();
    let message = story.text(&ana, "M1", &[&bia.jid]);
    story.says(ana.conn, message);
    let tags: Vec<_> = story.out.iter().map(|(conn, node)| (*conn, node.tag.to_string())).collect();
    assert_eq!(tags, [(ana.conn, "ack".to_owned()), (bia.conn, "message".to_owned())]);
}

#[test]
fn a_retry_goes_to_the_one_device_and_names_the_asking_one() {
    let (mut story, ana, bia) = pair();
    let second = story.link("Ana");
    story.silence_phones();
    let message = story.text(&ana, "M1", &[&bia.jid]);
    story.says(ana.conn, message.clone());
    let _ = (story.seen(ana.conn), story.seen(bia.conn), story.seen(second.conn));

    let retry = Retry { count: 1, t: story.now.secs(), error: 1, registration_id: Some(9), keys: None };
    let receipt =
        Receipt { retry: Some(retry), ..Receipt::new("M1".into(), ana.jid.clone(), ReceiptKind::Retry) };
    story.says(bia.conn, receipt.build_to());
    let forwarded = story.seen_of(ana.conn, "receipt");
    assert_eq!(forwarded.len(), 1);
    assert_eq!(forwarded[0].jid("from"), Some(bia.jid.clone()));
    assert_eq!(forwarded[0].find("retry").and_then(|r| r.text("count")), Some("1"));
    assert_eq!(story.seen_of(second.conn, "receipt"), []);

    // Asked for again, the same id may go to everybody once more: a client answers a phone's retry that way.
    story.says(ana.conn, message);
    assert_eq!(story.seen_of(bia.conn, "message").len(), 1);
}

#[test]
fn the_queue_comes_in_batches_and_ends_with_the_marker() {
    let (mut story, ana, mut bia) = pair();
    story.world.closed(bia.conn, story.now);
    for n in 0..30 {
        let message = story.text(&ana, &format!("M{n}"), &[&bia.jid]);
        story.says(ana.conn, message);
    }
    story.login(&mut bia);
    story.activate(&bia);
    let first = story.seen(bia.conn);
    let preview = first.iter().find_map(|node| node.find("offline_preview")).unwrap();
    assert_eq!(preview.text("message"), Some("30"));
    assert_eq!(first.iter().filter(|node| node.tag == "message").count(), 5);
    assert!(first.iter().all(|node| node.find("offline").is_none()));

    story.says(bia.conn, offline_batch(10));
    assert_eq!(story.seen_of(bia.conn, "message").len(), 10);
    // It asks no more: after a while the rest comes unasked.
    story.pass(1_900);
    assert_eq!(story.seen(bia.conn), []);
    story.pass(200);
    let rest = story.seen(bia.conn);
    assert_eq!(rest.iter().filter(|node| node.tag == "message").count(), 15);
    assert_eq!(rest.last().and_then(|node| node.find("offline")).and_then(|o| o.text("count")), Some("30"));
    assert!(rest[0].text("offline") == Some("0") && rest[0].text("id") == Some("M15"));
}

#[test]
fn what_comes_while_the_queue_drains_follows_right_behind_it() {
    let (mut story, ana, mut bia) = pair();
    story.world.closed(bia.conn, story.now);
    for n in 0..8 {
        let message = story.text(&ana, &format!("M{n}"), &[&bia.jid]);
        story.says(ana.conn, message);
    }
    story.login(&mut bia);
    story.activate(&bia);
    for n in 8..10 {
        let message = story.text(&ana, &format!("M{n}"), &[&bia.jid]);
        story.says(ana.conn, message);
    }
    story.says(bia.conn, offline_batch(10));
    let seen = story.seen(bia.conn);
    let place = |id: &str| seen.iter().position(|node| node.text("id") == Some(id)).unwrap();
    let marker = seen.iter().position(|node| node.find("offline").is_some()).unwrap();
    assert!(place("M7") < marker && marker < place("M8") && place("M8") < place("M9"));
    assert_eq!(seen[place("M8")].text("offline"), None);
}

#[test]
fn only_a_releasing_answer_takes_a_message_out_of_the_queue() {
    let (mut story, ana, mut bia) = pair();
    for id in ["read", "nacked", "retried", "ignored"] {
        let message = story.text(&ana, id, &[&bia.jid]);
        story.says(ana.conn, message);
    }
    let retry = Retry { count: 1, t: 0, error: 0, registration_id: None, keys: None };
    let answers = [
        Receipt::new("read".into(), ana.jid.clone(), ReceiptKind::Inactive).build_to(),
        Receipt { retry: Some(retry), ..Receipt::new("retried".into(), ana.jid.clone(), ReceiptKind::Retry) }
            .build_to(),
        Node::new("ack")
            .attr("class", "message")
            .attr("id", "nacked")
            .attr("to", &ana.jid)
            .attr("error", 500_u32),
    ];
    for answer in answers {
        story.says(bia.conn, answer);
    }
    story.world.closed(bia.conn, story.now);
    story.login(&mut bia);
    story.activate(&bia);
    let again = story.seen_of(bia.conn, "message");
    let ids: Vec<_> = again.iter().filter_map(|node| node.text("id")).collect();
    assert_eq!(ids, ["retried", "ignored"]);
    assert!(again.iter().all(|node| node.text("offline") == Some("1")));
}

#[test]
fn an_own_copy_waits_for_the_sender_receipt() {
    let (mut story, ana, bia) = pair();
    let second = story.link("Ana");
    story.silence_phones();
    let message = story.text(&ana, "M1", &[&bia.jid, &second.jid]);
    story.says(ana.conn, message);
    let copy = story.seen_of(second.conn, "message").remove(0);
    assert_eq!(copy.jid("recipient"), Some(bia.jid.bare()));
    assert!(copy.jid("peer_recipient_lid").is_some() && copy.jid("sender_lid").is_none());
    let ack = Ack::of(&copy).unwrap();
    story.says(second.conn, ack.build_to());
    story.says(second.conn, Receipt::new("M1".into(), ana.jid.clone(), ReceiptKind::Inactive).build_to());

    let waiting = |story: &Story| {
        story.world.resolve(&second.jid).and_then(|d| story.world.device(d)).unwrap().queue.count().message
    };
    assert_eq!(waiting(&story), 1);
    let receipt = Receipt {
        recipient: Some(bia.jid.bare()),
        ..Receipt::new("M1".into(), ana.jid.clone(), ReceiptKind::Sender)
    };
    story.says(second.conn, receipt.build_to());
    assert_eq!(waiting(&story), 0);
}

#[test]
fn of_two_stanzas_with_one_id_the_older_is_released_first() {
    let (mut story, ana, bia) = pair();
    let message = story.text(&ana, "M1", &[&bia.jid]);
    story.says(ana.conn, message);
    let enc = story.text(&ana, "M1", &[&bia.jid]).find("participants").unwrap().children()[0]
        .find("enc")
        .unwrap()
        .clone();
    let resend = Outgoing {
        direct: Some(Enc { count: Some(1), ..Enc::parse(&enc).unwrap() }),
        device_identity: Some(ana.device_identity.clone()),
        ..Outgoing::text("M1".into(), bia.jid.clone())
    };
    story.says(ana.conn, resend.build());
    let delivered = story.seen_of(bia.conn, "message");
    assert_eq!(delivered.len(), 2);
    assert_eq!(delivered[1].find("enc").unwrap().text("count"), Some("1"));
    story.says(bia.conn, Ack::of(&delivered[0]).unwrap().build_to());
    let device = story.world.resolve(&bia.jid).unwrap();
    let left: Vec<_> = story.world.device(device).unwrap().queue.entries().map(|e| e.node.clone()).collect();
    assert_eq!(left, [delivered[1].clone()]);
}

#[test]
fn what_no_documented_client_sends_is_refused_and_counted() {
    let (mut story, ana, bia) = pair();
    let good = story.text(&ana, "good", &[&bia.jid]);
    let mut bare = good.clone();
    bare.content = crate::wire::Content::Nodes(
        good.children().iter().filter(|c| c.tag != "device-identity").cloned().collect(),
    );
    let mixed = {
        let lid = story.world.resolve(&ana.jid).map(|d| story.world.jid(d, Namespace::Lid)).unwrap();
        story.text(&ana, "mixed", &[&bia.jid, &lid])
    };
    for (node, code) in
        [(bare, "479"), (mixed, "400"), (Node::new("message").attr("id", "x").attr("to", &bia.jid), "479")]
    {
        story.says(ana.conn, node);
        assert_eq!(story.seen_of(ana.conn, "ack")[0].text("error"), Some(code));
    }
    story.says(ana.conn, Node::new("gremlin"));
    assert_eq!(story.seen_of(bia.conn, "message"), []);
    assert_eq!(story.world.stats_view().refused.values().sum::<u64>(), 4);

    // An unknown query is no fault of the client.
    story.says(ana.conn, Iq::query("q", IqKind::Get, "w:unheard-of").child(Node::new("what")));
    let answer = story.seen_of(ana.conn, "iq").remove(0);
    assert_eq!(answer.find("error").and_then(|e| e.text("code")), Some("501"));
    assert_eq!(story.world.stats_view().refused.values().sum::<u64>(), 4);
    assert_eq!(story.world.stats_view().unknown.get("get w:unheard-of what"), Some(&1));
}

#[test]
fn an_unlinked_companion_is_told_and_does_not_get_in_again() {
    let (mut story, ana, _) = pair();
    let phone = story.world.phone(ana.jid.user()).unwrap();
    story.world.unlink_companion(phone, 1, story.now).unwrap();
    story.collect();
    let last = story.seen(ana.conn).pop().unwrap();
    assert_eq!((last.text("code"), last.find("conflict").is_some()), (Some("401"), true));
    let payload =
        proto::ClientPayload { username: ana.jid.user().parse().ok(), device: Some(1), ..Default::default() };
    let conn = story.world.opened(ana.noise.public, &payload.encode_to_vec(), story.now);
    story.collect();
    assert_eq!(story.seen(conn)[0].text("reason"), Some("401"));
}

#[test]
fn a_restored_world_knows_its_companions_and_keeps_their_queues() {
    let (mut story, ana, mut bia) = pair();
    story.world.closed(bia.conn, story.now);
    let message = story.text(&ana, "M1", &[&bia.jid]);
    story.says(ana.conn, message);
    let saved = serde_json::to_string(&story.world.snapshot(1)).unwrap();

    let mut world = World::new(SETTINGS, StdRng::seed_from_u64(3));
    world.restore(&serde_json::from_str(&saved).unwrap()).unwrap();
    assert_eq!(serde_json::to_string(&world.snapshot(1)).unwrap(), saved);
    story.world = world;
    story.login(&mut bia);
    story.activate(&bia);
    assert_eq!(story.seen_of(bia.conn, "message")[0].text("id"), Some("M1"));
}

#[test]
fn a_typing_notice_expires_in_the_queue() {
    let (mut story, ana, mut bia) = pair();
    story.world.closed(bia.conn, story.now);
    let typing = Node::new("chatstate").attr("to", bia.jid.bare()).child(Node::new("composing"));
    story.says(ana.conn, typing.clone());
    story.pass(26_000);
    story.login(&mut bia);
    story.activate(&bia);
    assert_eq!(story.seen_of(bia.conn, "chatstate"), []);
    story.says(ana.conn, typing);
    assert_eq!(story.seen_of(bia.conn, "chatstate").len(), 1);
}

#[test]
fn two_phones_talk_without_any_companion() {
    let mut story = Story::new();
    let world = &mut story.world;
    let carla = world.create_phone(None, Some("Carla".into()), None, story.now).unwrap();
    let echo = world.create_phone(None, Some("Echo".into()), None, story.now).unwrap();
    let to = world.phone_view(echo).number;
    for text in ["one", "two"] {
        let what = Sending::Text { text: text.into(), quote: None };
        world.send_from(carla, &to, what, story.now).unwrap();
    }
    let heard: Vec<_> =
        world.message_views(carla, Some(&to), None).unwrap().into_iter().filter_map(|m| m.text).collect();
    assert_eq!(heard, ["one", "two"]);
    assert_eq!(world.receipt_views(carla, None).len(), 2);
    assert!(world.stats_view().refused.is_empty());
}

#[test]
fn the_phash_vectors_of_the_protocol_hold() {
    let jid = |text: &str| text.parse::<Jid>().unwrap();
    let hash = |jids: &[&str]| crate::stanza::participant_hash(jids.iter().map(|text| jid(text)));
    assert_eq!(hash(&["5511999999999:3@s.whatsapp.net"]), "2:5s+YxCff");
    assert_eq!(hash(&["5511999999999@s.whatsapp.net"]), "2:RJWVxcMQ");
    assert_eq!(hash(&["5511988887777:14@lid", "7469250125917:21@lid"]), "2:xVELSmNO");
}
