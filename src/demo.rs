//! `run --sandbox`: a simulated WhatsApp beside the instance, a phone that scans the code by itself, and an echo.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::{
    account::{Link, Status},
    cli::{Console, Failure},
    daemon::Handle,
    sandbox::{self, Admin, Sandbox},
};

/// The phone that links the instance, and the contact that answers.
const PHONE: &str = "5511912345678";
const ECHO: &str = "5511900000001";

/// The simulated WhatsApp of one instance.
pub(crate) struct Demo {
    sandbox: Sandbox,
}

/// What scans the codes.
pub(crate) struct Scanner {
    admin: Admin,
}

impl Demo {
    /// Starts it with its state beside the database, so that the next start finds the same phones.
    pub(crate) async fn start(data: &Path) -> Result<Self, Failure> {
        let fault = |error: sandbox::Error| Failure::Unexpected(format!("the sandbox: {error}"));
        let options = sandbox::Options { state: Some(data.join("whatsapp")), ..sandbox::Options::default() };
        let sandbox = Sandbox::start(options).await.map_err(fault)?;
        let admin = sandbox.admin();
        for (number, name) in [(PHONE, "You"), (ECHO, "Echo")] {
            // Kept from an earlier start, or made now.
            if admin.phone(number).is_err() {
                admin
                    .create_phone(Some(number.to_owned()), Some(name.to_owned()), None)
                    .map_err(|error| Failure::Unexpected(format!("the sandbox: {error}")))?;
            }
        }
        Ok(Self { sandbox })
    }

    pub(crate) fn server(&self) -> String {
        self.sandbox.url()
    }

    pub(crate) fn root_key(&self) -> [u8; 32] {
        self.sandbox.root_key()
    }

    pub(crate) fn tls_root(&self) -> String {
        self.sandbox.tls_root_pem().to_owned()
    }

    pub(crate) fn echo(&self) -> &'static str {
        ECHO
    }

    pub(crate) fn scanner(&self) -> Scanner {
        Scanner { admin: self.sandbox.admin() }
    }

    /// Three requests to try.
    pub(crate) fn curl_lines(&self, base: &str, token: Option<&str>) -> [String; 3] {
        let token = token.unwrap_or("$TOKEN");
        let auth = format!("-H 'Authorization: Bearer {token}'");
        [
            format!("curl -s {auth} {base}/status"),
            format!(
                "curl -s {auth} -H 'Content-Type: application/json' -d '{{\"recipient\":\"{ECHO}\",\"message\":\"Hello\"}}' {base}/send-message"
            ),
            format!("curl -s {auth} '{base}/events?types=message.received&wait=5'"),
        ]
    }

    pub(crate) async fn shutdown(self) {
        self.sandbox.shutdown().await;
    }
}

impl Scanner {
    /// Scans every code that the instance shows; says so once it is linked.
    pub(crate) async fn link(
        self,
        handle: Handle,
        console: Console,
        curl: [String; 3],
        stop: CancellationToken,
    ) {
        let mut link = handle.link();
        let mut scanned = None;
        let mut told = false;
        loop {
            let now: Link = link.borrow_and_update().clone();
            if let Some(qr) = now.qr.filter(|qr| Some(&qr.text) != scanned.as_ref()) {
                if let Err(error) = self.admin.phone_scans_qr(PHONE, &qr.text) {
                    tracing::warn!(%error, "the simulated phone could not scan the code");
                }
                scanned = Some(qr.text);
            }
            if now.status == Status::Connected && !told {
                told = true;
                console.line(&format!("paired as {}", now.phone.as_deref().unwrap_or(PHONE)));
                console.line("ready");
                for line in &curl {
                    console.line(line);
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = link.changed() => if changed.is_err() { return },
            }
        }
    }
}
