//! Blobs that the account wants for what is in them: downloaded into memory, within their limit, and verified before
//! anything of them is handed on.

use std::time::Duration;

use tokio::{sync::mpsc, task::spawn_blocking, time::timeout};

use super::Handle;
use crate::{
    account::Blob,
    crypto::media::{Claim, MediaKeys, Verifier, blob_length},
    net::media::{Cdn, CdnError},
};

/// For one blob, with everything that has to be tried again.
const OVERALL: Duration = Duration::from_secs(120);

/// Brings one blob, in a task of its own: its content, or nothing.
pub(super) fn fetch(handle: Handle, cdn: Cdn, blob: Blob, report: mpsc::Sender<(u64, Option<Vec<u8>>)>) {
    tokio::spawn(async move {
        let id = blob.id;
        let content = match timeout(OVERALL, bring(&handle, &cdn, blob)).await {
            Ok(content) => content,
            Err(_) => {
                tracing::warn!("a blob did not come in time");
                None
            }
        };
        // Without a driver nobody wants it any more.
        drop(report.send((id, content)).await);
    });
}

async fn bring(handle: &Handle, cdn: &Cdn, blob: Blob) -> Option<Vec<u8>> {
    let limit = blob_length(blob.limit);
    let mut refresh = false;
    let sealed = loop {
        let hosts = handle.media_hosts(refresh).await.ok()?;
        let mut bytes = Vec::new();
        let mut download = cdn.download(&hosts.in_order(), &blob.direct_path, 0, None, limit);
        match download.save(&mut bytes).await {
            Ok(_) => break bytes,
            Err(CdnError::Refused(_)) if !refresh => refresh = true,
            Err(error) => {
                tracing::warn!(%error, "a blob could not be downloaded");
                return None;
            }
        }
    };
    spawn_blocking(move || open(&blob, &sealed)).await.ok()?
}

fn open(blob: &Blob, sealed: &[u8]) -> Option<Vec<u8>> {
    let claim = Claim::new(blob.file_sha256.as_deref(), blob.file_enc_sha256.as_deref(), None).ok()?;
    let mut verifier = Verifier::new(MediaKeys::derive(&blob.media_key, blob.kind));
    verifier.update(sealed);
    let mut content = Vec::with_capacity(sealed.len());
    let opened = verifier.finish(claim).and_then(|verified| {
        let mut decryptor = verified.decryptor();
        decryptor.update(sealed, &mut content)?;
        decryptor.finish(&mut content)
    });
    match opened {
        Ok(()) => Some(content),
        Err(error) => {
            tracing::warn!(%error, "a blob is not what was announced");
            None
        }
    }
}
