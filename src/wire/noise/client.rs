//! The client's side: XX only. IK would save a round trip at the price of a cached certificate.

use prost::Message as _;
use rand::CryptoRng;

use super::{
    NoiseError, TrustRoot,
    symmetric::{Role, Symmetric, XX, public_key},
    transport::Sealed,
};
use crate::{
    clock::Millis,
    crypto::KeyPair,
    proto::{
        HandshakeMessage,
        handshake_message::{ClientFinish, ClientHello},
    },
    wire::frame::{self, INTRO},
};

/// Client, waiting for the server's hello.
pub struct ExpectServerHello {
    noise: Symmetric,
    ephemeral: KeyPair,
    static_key: KeyPair,
    payload: Vec<u8>,
}

impl ExpectServerHello {
    /// `payload` is the serialized ClientPayload. Returns the first bytes to send: intro and framed ClientHello.
    pub fn start(static_key: KeyPair, payload: Vec<u8>, rng: &mut dyn CryptoRng) -> (Self, Vec<u8>) {
        Self::start_with(KeyPair::generate(rng), static_key, payload)
    }

    pub(super) fn start_with(ephemeral: KeyPair, static_key: KeyPair, payload: Vec<u8>) -> (Self, Vec<u8>) {
        let mut noise = Symmetric::new(XX);
        noise.mix_hash(ephemeral.public.as_bytes());
        let hello = HandshakeMessage {
            client_hello: Some(ClientHello {
                ephemeral: Some(ephemeral.public.as_bytes().to_vec()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let framed =
            frame::encode(&hello.encode_to_vec()).unwrap_or_else(|_| unreachable!("some forty bytes"));
        let first = [INTRO.as_slice(), &framed].concat();
        (Self { noise, ephemeral, static_key, payload }, first)
    }

    /// One frame's payload in; the framed ClientFinish and the pipe out. The server's certificate is always checked.
    pub fn step(self, hello: &[u8], root: &TrustRoot, now: Millis) -> Result<(Vec<u8>, Sealed), NoiseError> {
        let Self { mut noise, ephemeral, static_key, payload } = self;
        let message = HandshakeMessage::decode(hello).map_err(|_| NoiseError::Malformed)?;
        let hello = message.server_hello.ok_or(NoiseError::Malformed)?;
        let their_ephemeral = public_key(hello.ephemeral.as_deref())?;

        noise.mix_hash(their_ephemeral.as_bytes());
        noise.mix_agreement(&ephemeral.private, &their_ephemeral)?;
        let their_static = noise.decrypt_key(hello.r#static())?;
        noise.mix_agreement(&ephemeral.private, &their_static)?;
        let chain = noise.decrypt(hello.payload())?;
        root.verify(&chain, &their_static, now)?;

        let sealed_static = noise.encrypt(static_key.public.as_bytes())?;
        noise.mix_agreement(&static_key.private, &their_ephemeral)?;
        let payload = noise.encrypt(&payload)?;
        let finish = HandshakeMessage {
            client_finish: Some(ClientFinish { r#static: Some(sealed_static), payload: Some(payload) }),
            ..Default::default()
        };
        Ok((frame::encode(&finish.encode_to_vec())?, noise.split(Role::Client)))
    }
}
