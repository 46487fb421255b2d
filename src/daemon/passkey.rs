//! A linking that wants a passkey, for callers: they are answered once WhatsApp has looked at what they handed in.

use std::time::Duration;

use tokio::time::timeout;

use super::Handle;
use crate::account::{Answer, Command, PasskeyCommand, PasskeyRefused, PasskeyState};

/// For WhatsApp to look at what was signed: two answers of a second each, mostly.
const VERDICT_WAIT: Duration = Duration::from_secs(15);

/// Why nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyFault {
    /// Nobody waits for it in this state.
    #[error("not awaited in this state")]
    NotAwaited(PasskeyState),
    /// It was signed for another challenge than the one that waits.
    #[error("signed for another challenge")]
    OtherChallenge,
    /// WhatsApp does not take what was signed, with this code; it wants another challenge signed.
    #[error("WhatsApp refused what was signed ({0})")]
    Refused(u16),
    /// The instance is ending.
    #[error("internal error")]
    Internal,
}

impl Handle {
    /// Does something about a linking with a passkey; where it stands then.
    ///
    /// # Errors
    /// It was not awaited, or WhatsApp refused what was signed.
    pub async fn passkey(&self, command: PasskeyCommand) -> Result<PasskeyState, PasskeyFault> {
        let asserts = matches!(command, PasskeyCommand::Assert(_));
        let answer = match self.command(Command::Passkey(command)).await {
            Some((Answer::Passkey(answer), _)) => answer,
            _ => return Err(PasskeyFault::Internal),
        };
        let mut link = self.link();
        match answer {
            Ok(()) => {}
            Err(PasskeyRefused::OtherChallenge) => return Err(PasskeyFault::OtherChallenge),
            Err(PasskeyRefused::NotAwaited) => {
                return Err(PasskeyFault::NotAwaited(link.borrow().passkey.clone()));
            }
        }
        if asserts {
            let settled = link.wait_for(|link| !link.passkey.is_settling());
            drop(timeout(VERDICT_WAIT, settled).await);
        }
        let state = link.borrow().passkey.clone();
        match state.refused() {
            Some(code) => Err(PasskeyFault::Refused(code)),
            None => Ok(state),
        }
    }
}
