//! Known answers of every pattern, both roles against each other, and what must not pass.

use std::sync::Arc;

use proptest::prelude::*;
use prost::Message as _;
use rand::{SeedableRng as _, rngs::StdRng};

use super::{certificate::chain, symmetric::*, *};
use crate::{
    clock::Millis,
    crypto::KeyPair,
    proto::{CertChain, HandshakeMessage, cert_chain::noise_certificate::Details, handshake_message::*},
    wire::frame::{HEADER, INTRO},
};

const NOW: Millis = Millis::from_secs(1_800_000_000);
const PING: &str = "00f80a1911fa000308ff831b2a3f04291657f801f80156";

fn pair(byte: u8) -> KeyPair {
    KeyPair::from_private([byte; 32])
}

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

/// What the vectors were made with: the server's payload is no certificate there.
fn vector_keys() -> Arc<ServerKeys> {
    Arc::new(ServerKeys { static_key: pair(0x33), chain: b"server-payload".to_vec() })
}

fn client_hello(parts: ClientHello) -> Vec<u8> {
    HandshakeMessage { client_hello: Some(parts), ..Default::default() }.encode_to_vec()
}

fn xx_hello() -> Vec<u8> {
    client_hello(ClientHello { ephemeral: Some(pair(0x11).public.as_bytes().to_vec()), ..Default::default() })
}

fn finish(sealed_static: &[u8], payload: &[u8]) -> Vec<u8> {
    let parts = ClientFinish { r#static: Some(sealed_static.to_vec()), payload: Some(payload.to_vec()) };
    HandshakeMessage { client_finish: Some(parts), ..Default::default() }.encode_to_vec()
}

fn server_hello(framed: &[u8]) -> ServerHello {
    HandshakeMessage::decode(&framed[HEADER..]).unwrap().server_hello.unwrap()
}

fn greet(hello: &[u8]) -> (ServerHello, ExpectClientFinish) {
    match ExpectClientHello::new(vector_keys()).step_with(hello, pair(0x22)).unwrap() {
        Greeted::Finish { reply, next } => (server_hello(&reply), next),
        Greeted::Established { .. } => panic!("XX takes a finish"),
    }
}

#[test]
fn xx_gives_the_known_answers() {
    let mut noise = Symmetric::new(XX);
    assert_eq!(hex::encode(noise.hash()), "ffff0c9267310966f1311170c04b38c79504285bf5edf763e5c946492a50a755");
    noise.mix_hash(pair(0x11).public.as_bytes());
    assert_eq!(hex::encode(noise.hash()), "6c9ea30317f933b43ebefedd04d07fa1428b9530c67179ef1189ce3a91089bae");
    noise.mix_hash(pair(0x22).public.as_bytes());
    noise.mix_agreement(&pair(0x22).private, &pair(0x11).public).unwrap();
    let (chaining, key) = noise.keys();
    assert_eq!(hex::encode(chaining), "822357b938db0a56431f88a7a7982f576a9ae8ee2d0e7daf23fdcce4f53c704c");
    assert_eq!(hex::encode(key), "beb6a635fd2edde7607ce687048ec6bf9576aab2535146c1b3bfc47df83ce9bf");

    let (hello, next) = greet(&xx_hello());
    assert_eq!(
        hex::encode(hello.r#static()),
        "83be4718bc8739c3ea26ed6075c008d2f47a152fcbe9837641dc39e08b096889d6fa21589c04e73d4ffca99288dea2af"
    );
    assert_eq!(hex::encode(hello.payload()), "3f58e1c032a032308f7d911dd776c0fc93296e839f4079b3716f3bcfb6b0");
    let finish = finish(
        &hex(
            "fd1098a9346acf3d47fa7ad40180f1554b9d148a5cec2c67d775374d444c62c803eb6744c62fe72f0543d84712418a57",
        ),
        &hex("8762f8dd8345f0cd0e2f9d10b9122e5144105faea8d050256d2b7920e781"),
    );
    let mut client = next.step(&finish).unwrap();
    assert_eq!(
        (client.static_key, client.payload.as_slice()),
        (pair(0x44).public, b"client-payload".as_slice())
    );
    let from_client = hex("351be9b3ff5f4e665c85f3db47489fc3fdd9a2dd5813017971908fae15c2ce51d9eacbe41ac2fa");
    assert_eq!(client.sealed.opener.open(&from_client), Ok(hex(PING)));
    for frame in [
        "b576c56195f99932c16d6fb2a9998311cb222a5758c27f5567bb012477238cbad1fd58ace16a28",
        "4d7bbb91a8f7d771b196474ae8a79877832891ac62e1e6b9be0dd893729ac87f5fdef7e4db6669",
    ] {
        let sealed = client.sealed.sealer.seal(&hex(PING)).unwrap();
        assert_eq!(hex::encode(&sealed), format!("000027{frame}"));
    }
}

/// The client's half of XX from step 6 on, with a payload in place of a chain; also the end of the vector above.
#[test]
fn xx_ends_with_the_known_hash_and_keys() {
    for (pattern, hash, to_server, to_client) in [
        (
            XX,
            Some("1d16b9a55134352c349776e8c6aad92a77a790fb037eebd67c280321e6423344"),
            "c31a41f546e9dbcff8d081f3ef6d21d9c2f5f3d5e0dd117666b8a736ba1034a9",
            "1a8727358ef04e4c6e458345ff8a7d5bc4952a553fa3c48023e9b9d1af9b89f2",
        ),
        (
            XX_FALLBACK,
            None,
            "bd9dd568cb1c9ce96bac182914fc89b30e63661d832520dd866b5b93286ec8c5",
            "ee9589222ac6bf5a4dd6b1acd3c5408366ff30aaf3e85deeed2e8973b01704e5",
        ),
    ] {
        let mut noise = Symmetric::new(pattern);
        noise.mix_hash(pair(0x11).public.as_bytes());
        noise.mix_hash(pair(0x22).public.as_bytes());
        noise.mix_agreement(&pair(0x11).private, &pair(0x22).public).unwrap();
        noise.encrypt(pair(0x33).public.as_bytes()).unwrap();
        noise.mix_agreement(&pair(0x11).private, &pair(0x33).public).unwrap();
        noise.encrypt(b"server-payload").unwrap();
        noise.encrypt(pair(0x44).public.as_bytes()).unwrap();
        noise.mix_agreement(&pair(0x44).private, &pair(0x22).public).unwrap();
        noise.encrypt(b"client-payload").unwrap();
        if let Some(hash) = hash {
            assert_eq!(hex::encode(noise.hash()), hash);
        }
        let (client, server) = noise.split_keys();
        assert_eq!((hex::encode(client), hex::encode(server)), (to_server.into(), to_client.into()));
    }
}

#[test]
fn an_ik_hello_of_our_key_is_accepted_with_the_known_answers() {
    let hello = client_hello(ClientHello {
        ephemeral: Some(pair(0x11).public.as_bytes().to_vec()),
        r#static: Some(hex(
            "8ba4191caf89d29f04685b77b5cb01e1dc11b6dbff78b7a575fd358759f6e291f99e5b37096f593129f2cfa82f9f814b",
        )),
        payload: Some(hex("62e610ca6a275677239855bbeed37b2f44566a17f3225796ba81430b65bc")),
    });
    let Greeted::Established { reply, mut client } =
        ExpectClientHello::new(vector_keys()).step_with(&hello, pair(0x22)).unwrap()
    else {
        panic!("refused");
    };
    let reply = server_hello(&reply);
    assert_eq!(reply.r#static, None);
    assert_eq!(hex::encode(reply.payload()), "b01b653a5b4570dfe402d8e247b56751d74c716f0ef7f256cde3eed0ec25");
    assert_eq!(
        (client.static_key, client.payload.as_slice()),
        (pair(0x44).public, b"client-payload".as_slice())
    );
    let mut other = Sealed::new(
        &hex("007f11b0c3c15566049779175e363f82cd14c8b08c2681ed8a99a8bc63596da8").try_into().unwrap(),
        &hex("64730a2eb6cb894435dc92a26740a88d7fd0ea4cdd5e491f350c5022ecab9ed4").try_into().unwrap(),
    );
    let frame = other.sealer.seal(b"up").unwrap();
    assert_eq!(client.sealed.opener.open(&frame[HEADER..]).as_deref(), Ok(b"up".as_slice()));
    let frame = client.sealed.sealer.seal(b"down").unwrap();
    assert_eq!(other.opener.open(&frame[HEADER..]).as_deref(), Ok(b"down".as_slice()));
}

#[test]
fn an_ik_hello_for_another_key_falls_back_to_xx() {
    let noise = Symmetric::new(XX_FALLBACK);
    assert_eq!(hex::encode(noise.hash()), "413766ac503c04676506bebddd691cfd5fe1087956a1150b2d235c16bd23512c");

    let hello = client_hello(ClientHello {
        ephemeral: Some(pair(0x11).public.as_bytes().to_vec()),
        r#static: Some(vec![0; 48]),
        payload: Some(vec![0; 30]),
    });
    let (reply, next) = greet(&hello);
    // Go on as a client would: from the hello already sent, under the other name.
    let mut noise = noise;
    noise.mix_hash(pair(0x11).public.as_bytes());
    noise.mix_hash(reply.ephemeral());
    noise.mix_agreement(&pair(0x11).private, &pair(0x22).public).unwrap();
    assert_eq!(noise.decrypt_key(reply.r#static()), Ok(pair(0x33).public));
    noise.mix_agreement(&pair(0x11).private, &pair(0x33).public).unwrap();
    assert_eq!(noise.decrypt(reply.payload()).as_deref(), Ok(b"server-payload".as_slice()));
    assert_eq!(next.noise().hash(), noise.hash());
    let sealed_static = noise.encrypt(pair(0x44).public.as_bytes()).unwrap();
    noise.mix_agreement(&pair(0x44).private, &pair(0x22).public).unwrap();
    let payload = noise.encrypt(b"client-payload").unwrap();
    let client = next.step(&finish(&sealed_static, &payload)).unwrap();
    assert_eq!(client.static_key, pair(0x44).public);
}

fn issued(seed: u64) -> (TrustRoot, Arc<ServerKeys>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let root = KeyPair::generate(&mut rng);
    (TrustRoot(*root.public.as_bytes()), Arc::new(ServerKeys::issue(&root, NOW, &mut rng)))
}

/// Both ends, with a hand on every message between them.
fn handshake(
    root: &TrustRoot,
    keys: Arc<ServerKeys>,
    now: Millis,
    mut touch: impl FnMut(usize, &mut Vec<u8>),
) -> Result<(Client, Sealed), NoiseError> {
    let mut rng = StdRng::seed_from_u64(9);
    let (client, first) = ExpectServerHello::start(pair(0x44), b"client-payload".to_vec(), &mut rng);
    assert_eq!(first[..4], INTRO);
    let mut hello = first[4 + HEADER..].to_vec();
    touch(0, &mut hello);
    let Greeted::Finish { reply, next } = ExpectClientHello::new(keys).step(&hello, &mut rng)? else {
        panic!("our client never resumes");
    };
    let mut reply = reply[HEADER..].to_vec();
    touch(1, &mut reply);
    let (finish, sealed) = client.step(&reply, root, now)?;
    let mut finish = finish[HEADER..].to_vec();
    touch(2, &mut finish);
    Ok((next.step(&finish)?, sealed))
}

#[test]
fn both_roles_meet_and_talk() {
    let (root, keys) = issued(1);
    let (mut client, mut pipe) = handshake(&root, keys, NOW, |_, _| ()).unwrap();
    assert_eq!(
        (client.static_key, client.payload.as_slice()),
        (pair(0x44).public, b"client-payload".as_slice())
    );
    for text in [b"one".as_slice(), b"two", b""] {
        let up = pipe.sealer.seal(text).unwrap();
        assert_eq!(client.sealed.opener.open(&up[HEADER..]).as_deref(), Ok(text));
        let down = client.sealed.sealer.seal(text).unwrap();
        assert_eq!(pipe.opener.open(&down[HEADER..]).as_deref(), Ok(text));
    }
}

fn refused(root: &TrustRoot, keys: Arc<ServerKeys>, now: Millis) -> NoiseError {
    handshake(root, keys, now, |_, _| ()).map(|_| ()).unwrap_err()
}

#[test]
fn only_the_chain_of_the_root_is_believed_and_only_in_its_time() {
    use CertificateError as E;
    let ((root, keys), (other, _)) = (issued(1), issued(2));
    assert_eq!(refused(&other, keys.clone(), NOW), E::UntrustedRoot.into());
    assert_eq!(refused(&TrustRoot::WHATSAPP, keys.clone(), NOW), E::UntrustedRoot.into());
    let six_years = std::time::Duration::from_secs(6 * 365 * 86_400);
    assert_eq!(refused(&root, keys.clone(), NOW + six_years), E::Expired.into());
    assert_eq!(refused(&root, keys.clone(), Millis::from_secs(1_600_000_000)), E::NotYetValid.into());
    let error = refused(&other, keys.clone(), NOW);
    assert_eq!(
        (error.blame(), error.to_string().as_str()),
        (Blame::Trust, "server certificate: not signed by the trusted root")
    );

    // Another server's chain, which is true but not about this key.
    let (_, stolen) = issued(1);
    let thief = ServerKeys { static_key: pair(0x55), chain: stolen.chain.clone() };
    assert_eq!(refused(&root, Arc::new(thief), NOW), E::WrongKey.into());
    for broken in [vec![], b"server-payload".to_vec(), keys.chain[..keys.chain.len() - 1].to_vec()] {
        let broken = ServerKeys { static_key: keys.static_key.clone(), chain: broken };
        assert_eq!(refused(&root, Arc::new(broken), NOW), E::Malformed.into());
    }
}

/// Re-signs a chain after changing its details.
fn resigned(change: impl Fn(&mut Details, &mut Details)) -> Result<(), CertificateError> {
    let mut rng = StdRng::seed_from_u64(3);
    let (root, intermediate, key) = (pair(0x88), pair(0x99), pair(0x33).public);
    let chain = chain(&root, &intermediate, &key, &(1_700_000_000..2_000_000_000), &mut rng);
    let mut chain = CertChain::decode(chain.as_slice()).unwrap();
    let read = |details: &Option<Vec<u8>>| Details::decode(details.as_deref().unwrap()).unwrap();
    let (upper, lower) = (chain.intermediate.as_mut().unwrap(), chain.leaf.as_mut().unwrap());
    let (mut above, mut below) = (read(&upper.details), read(&lower.details));
    change(&mut above, &mut below);
    for (certificate, details, issuer) in [(upper, above, &root), (lower, below, &intermediate)] {
        let details = details.encode_to_vec();
        certificate.signature = Some(issuer.private.sign(&details, &mut rng).to_vec());
        certificate.details = Some(details);
    }
    TrustRoot(*root.public.as_bytes()).verify(&chain.encode_to_vec(), &key, NOW)
}

#[test]
fn every_member_of_a_certificate_counts() {
    use CertificateError as E;
    assert_eq!(resigned(|_, _| ()), Ok(()));
    assert_eq!(resigned(|above, _| above.issuer_serial = Some(1)), Err(E::WrongIssuer));
    assert_eq!(resigned(|_, below| below.issuer_serial = Some(0)), Err(E::WrongIssuer));
    assert_eq!(resigned(|_, below| below.key = Some(vec![1; 32])), Err(E::WrongKey));
    assert_eq!(resigned(|_, below| below.key = None), Err(E::WrongKey));
    assert_eq!(resigned(|above, _| above.key = Some(vec![1; 31])), Err(E::Malformed));
    assert_eq!(
        resigned(|above, _| above.key = Some(pair(1).public.as_bytes().to_vec())),
        Err(E::BadLeafSignature)
    );
    assert_eq!(resigned(|above, _| above.not_before = Some(1_800_000_001)), Err(E::NotYetValid));
    assert_eq!(resigned(|_, below| below.not_before = Some(1_800_000_001)), Err(E::NotYetValid));
    assert_eq!(resigned(|above, _| above.not_after = Some(1_800_000_000)), Err(E::Expired));
    assert_eq!(resigned(|_, below| below.not_after = None), Err(E::Expired));
}

#[test]
fn the_published_certificate_is_made_and_believed() {
    let mut rng = StdRng::seed_from_u64(3);
    let key = pair(0x33).public;
    let made = chain(&pair(0x88), &pair(0x99), &key, &(1_700_000_000..2_000_000_000), &mut rng);
    let made = CertChain::decode(made.as_slice()).unwrap();
    let upper = "080110001a20ba193836cff1f4e866c139715d306408d26a76f76d638a39afc1001084d254112080e2cfaa062880a8d6b907";
    let lower = "080210011a207b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a1b142080e2cfaa062880a8d6b907";
    assert_eq!(hex::encode(made.intermediate.as_ref().unwrap().details()), upper);
    assert_eq!(hex::encode(made.leaf.as_ref().unwrap().details()), lower);

    let signed = |details, signature| {
        Some(crate::proto::cert_chain::NoiseCertificate {
            details: Some(hex(details)),
            signature: Some(hex(signature)),
        })
    };
    let published = CertChain {
        intermediate: signed(
            upper,
            "6687964b76a3b8f79698b0cf4fec1dfc124ebd9b0153480219118d80a869778534baa0c00ef1ee9dceac9fb6c196a2ba732fd60522b1107ca1a4d348e870ac01",
        ),
        leaf: signed(
            lower,
            "07c00bead619629536d555897d8fd66bcb37529a186de76a979be3c44721dd9699907cd0a43a28456a3eb4691e0b0d48f8531991eddbbba9268aeac1eb74b68c",
        ),
    };
    let root = TrustRoot(*pair(0x88).public.as_bytes());
    assert_eq!(root.verify(&published.encode_to_vec(), &key, NOW), Ok(()));
    let mut forged = published.clone();
    forged.leaf.as_mut().unwrap().signature.as_mut().unwrap()[5] ^= 1;
    assert_eq!(root.verify(&forged.encode_to_vec(), &key, NOW), Err(CertificateError::BadLeafSignature));
    let mut short = published;
    short.intermediate.as_mut().unwrap().signature.as_mut().unwrap().pop();
    assert_eq!(root.verify(&short.encode_to_vec(), &key, NOW), Err(CertificateError::Malformed));
}

#[test]
fn messages_out_of_place_are_malformed() {
    let (root, keys) = issued(1);
    let start = || ExpectServerHello::start(pair(0x44), vec![], &mut StdRng::seed_from_u64(1)).0;
    for message in
        [vec![], xx_hello(), finish(&[0; 48], &[0; 16]), vec![0xff; 9], client_hello(ClientHello::default())]
    {
        assert_eq!(start().step(&message, &root, NOW).map(|_| ()), Err(NoiseError::Malformed));
        if message != xx_hello() {
            let server = ExpectClientHello::new(keys.clone());
            let outcome = server.step(&message, &mut StdRng::seed_from_u64(2)).map(|_| ());
            assert_eq!(outcome, Err(NoiseError::Malformed));
        }
    }
    assert_eq!(greet(&xx_hello()).1.step(&xx_hello()).map(|_| ()), Err(NoiseError::Malformed));
    assert_eq!(greet(&xx_hello()).1.step(&finish(&[], &[])).map(|_| ()), Err(NoiseError::HandshakeTag));
    // The zero point would make every secret known.
    let weak = client_hello(ClientHello { ephemeral: Some(vec![0; 32]), ..Default::default() });
    let outcome = ExpectClientHello::new(keys).step(&weak, &mut StdRng::seed_from_u64(2)).map(|_| ());
    assert_eq!(outcome, Err(NoiseError::WeakKey));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_flipped_bit_ends_the_handshake(
        which in 0..3_usize, at in any::<prop::sample::Index>(), bit in 0..8_u32,
    ) {
        let (root, keys) = issued(1);
        let mut changed = (Vec::new(), Vec::new());
        let outcome = handshake(&root, keys, NOW, |message, bytes| {
            if message == which {
                changed.0 = bytes.clone();
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
                changed.1 = bytes.clone();
            }
        });
        // Some flips make another spelling of the same message; then, and only then, nothing is wrong.
        let same = HandshakeMessage::decode(changed.0.as_slice()) .ok() == HandshakeMessage::decode(changed.1.as_slice()).ok();
        prop_assert!(outcome.is_err() || same);
    }

    #[test]
    fn arbitrary_messages_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (root, keys) = issued(1);
        let start = ExpectServerHello::start(pair(0x44), vec![], &mut StdRng::seed_from_u64(1)).0;
        let _ = start.step(&bytes, &root, NOW);
        let _ = ExpectClientHello::new(keys).step(&bytes, &mut StdRng::seed_from_u64(2));
        let _ = greet(&xx_hello()).1.step(&bytes);
    }
}
