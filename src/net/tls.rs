//! TLS to servers: the system's roots, the bundled ones, and those an operator adds.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio_rustls::TlsConnector;

use super::{NetError, dial::Stream};

/// Made anew for every connection: connections are rare, and idle ones should not hold what only a handshake needs.
pub(super) fn config(extra_roots: Option<&[u8]>) -> Result<ClientConfig, NetError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    // A system's store may hold certificates that rustls does not read; the others count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = extra_roots {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| NetError::BadRoots(error.to_string()))?;
            roots.add(certificate).map_err(|error| NetError::BadRoots(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(NetError::BadRoots("no certificate in the file".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| NetError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The handshake. The error is rustls' own sentence, which names the fault and no secret.
pub(super) async fn wrap(stream: Stream, host: &str, config: ClientConfig) -> Result<Stream, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let wrapped = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    wrapped.map(|stream| Box::new(stream) as Stream).map_err(|error| error.to_string())
}
