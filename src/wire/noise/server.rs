//! The server's side: XX; IK where a client knows our key already; XXfallback where it only thought so.

use std::sync::Arc;

use prost::Message as _;
use rand::CryptoRng;

use super::{
    NoiseError, ServerKeys,
    symmetric::{IK, Role, Symmetric, XX, XX_FALLBACK, public_key},
    transport::Sealed,
};
use crate::{
    crypto::{KeyPair, PublicKey},
    proto::{
        HandshakeMessage,
        handshake_message::{ClientHello, ServerHello},
    },
    wire::frame,
};

/// Server, waiting for the client's hello.
pub struct ExpectClientHello {
    keys: Arc<ServerKeys>,
}

/// What the client's hello led to. A reply is framed, and must be alone in its WebSocket message: whatsapp-rust drops
/// whatever follows it there.
pub enum Greeted {
    /// XX (or IK refused): send the reply, wait for the finish, and send nothing else before it.
    Finish {
        /// The framed ServerHello.
        reply: Vec<u8>,
        /// The state to go on with.
        next: ExpectClientFinish,
    },
    /// IK accepted: the client is known already. Send the reply alone in its WebSocket message.
    Established {
        /// The framed ServerHello.
        reply: Vec<u8>,
        /// Who it is, and the pipe.
        client: Client,
    },
}

/// A client that has proved its key.
pub struct Client {
    /// Its Noise static key.
    pub static_key: PublicKey,
    /// Serialized ClientPayload.
    pub payload: Vec<u8>,
    /// The pipe to it.
    pub sealed: Sealed,
}

impl ExpectClientHello {
    /// A fresh connection, its intro already read.
    pub fn new(keys: Arc<ServerKeys>) -> Self {
        Self { keys }
    }

    /// One frame's payload in.
    pub fn step(self, hello: &[u8], rng: &mut dyn CryptoRng) -> Result<Greeted, NoiseError> {
        self.step_with(hello, KeyPair::generate(rng))
    }

    pub(super) fn step_with(self, hello: &[u8], ephemeral: KeyPair) -> Result<Greeted, NoiseError> {
        let message = HandshakeMessage::decode(hello).map_err(|_| NoiseError::Malformed)?;
        let hello = message.client_hello.ok_or(NoiseError::Malformed)?;
        let their_ephemeral = public_key(hello.ephemeral.as_deref())?;
        if hello.r#static.is_none() {
            return self.reply(XX, their_ephemeral, ephemeral);
        }
        match self.resume(&hello, &their_ephemeral) {
            Ok((noise, static_key, payload)) => {
                self.accept(noise, &their_ephemeral, &ephemeral, static_key, payload)
            }
            // Made for a key that is no longer ours: go on from the same hello as if it had been an XX.
            Err(NoiseError::HandshakeTag) => self.reply(XX_FALLBACK, their_ephemeral, ephemeral),
            Err(other) => Err(other),
        }
    }

    fn resume(
        &self,
        hello: &ClientHello,
        their_ephemeral: &PublicKey,
    ) -> Result<(Symmetric, PublicKey, Vec<u8>), NoiseError> {
        let ours = &self.keys.static_key;
        let mut noise = Symmetric::new(IK);
        noise.mix_hash(ours.public.as_bytes());
        noise.mix_hash(their_ephemeral.as_bytes());
        noise.mix_agreement(&ours.private, their_ephemeral)?;
        let their_static = noise.decrypt_key(hello.r#static())?;
        noise.mix_agreement(&ours.private, &their_static)?;
        let payload = noise.decrypt(hello.payload())?;
        Ok((noise, their_static, payload))
    }

    fn accept(
        &self,
        mut noise: Symmetric,
        their_ephemeral: &PublicKey,
        ephemeral: &KeyPair,
        static_key: PublicKey,
        payload: Vec<u8>,
    ) -> Result<Greeted, NoiseError> {
        noise.mix_hash(ephemeral.public.as_bytes());
        noise.mix_agreement(&ephemeral.private, their_ephemeral)?;
        noise.mix_agreement(&ephemeral.private, &static_key)?;
        let chain = noise.encrypt(&self.keys.chain)?;
        let reply = server_hello(ephemeral, None, chain)?;
        let sealed = noise.split(Role::Server);
        Ok(Greeted::Established { reply, client: Client { static_key, payload, sealed } })
    }

    fn reply(
        &self,
        pattern: &[u8],
        their_ephemeral: PublicKey,
        ephemeral: KeyPair,
    ) -> Result<Greeted, NoiseError> {
        let ours = &self.keys.static_key;
        let mut noise = Symmetric::new(pattern);
        noise.mix_hash(their_ephemeral.as_bytes());
        noise.mix_hash(ephemeral.public.as_bytes());
        noise.mix_agreement(&ephemeral.private, &their_ephemeral)?;
        let sealed_static = noise.encrypt(ours.public.as_bytes())?;
        noise.mix_agreement(&ours.private, &their_ephemeral)?;
        let chain = noise.encrypt(&self.keys.chain)?;
        let reply = server_hello(&ephemeral, Some(sealed_static), chain)?;
        Ok(Greeted::Finish { reply, next: ExpectClientFinish { noise, ephemeral } })
    }
}

fn server_hello(
    ephemeral: &KeyPair,
    sealed_static: Option<Vec<u8>>,
    payload: Vec<u8>,
) -> Result<Vec<u8>, NoiseError> {
    let hello = HandshakeMessage {
        server_hello: Some(ServerHello {
            ephemeral: Some(ephemeral.public.as_bytes().to_vec()),
            r#static: sealed_static,
            payload: Some(payload),
        }),
        ..Default::default()
    };
    Ok(frame::encode(&hello.encode_to_vec())?)
}

/// Server, waiting for the client's finish.
pub struct ExpectClientFinish {
    noise: Symmetric,
    ephemeral: KeyPair,
}

impl ExpectClientFinish {
    /// One frame's payload in; the client and its pipe out.
    pub fn step(self, finish: &[u8]) -> Result<Client, NoiseError> {
        let Self { mut noise, ephemeral } = self;
        let message = HandshakeMessage::decode(finish).map_err(|_| NoiseError::Malformed)?;
        let finish = message.client_finish.ok_or(NoiseError::Malformed)?;
        let static_key = noise.decrypt_key(finish.r#static())?;
        noise.mix_agreement(&ephemeral.private, &static_key)?;
        let payload = noise.decrypt(finish.payload())?;
        Ok(Client { static_key, payload, sealed: noise.split(Role::Server) })
    }

    #[cfg(test)]
    pub(super) fn noise(&self) -> &Symmetric {
        &self.noise
    }
}
