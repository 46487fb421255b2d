//! The sandbox's own TLS: a root for clients to trust, and a certificate for loopback signed by it.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::TlsAcceptor;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate library refused.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refused what was made, or what was kept.
    #[error("cannot use the certificate: {0}")]
    Config(#[from] rustls::Error),
    /// Clients need the root as a file.
    #[error("cannot write the root: {0}")]
    Write(#[from] std::io::Error),
}

/// What is kept over a restart. The root's own key is not: it has signed all it will.
#[derive(Clone)]
pub(super) struct TlsKeys {
    pub(super) root_pem: String,
    pub(super) leaf: Vec<u8>,
    /// PKCS #8.
    pub(super) key: Vec<u8>,
}

impl TlsKeys {
    pub(super) fn generate() -> Result<Self, TlsError> {
        let root_key = KeyPair::generate()?;
        let mut root = CertificateParams::new(Vec::<String>::new())?;
        root.distinguished_name.push(DnType::CommonName, "wazap sandbox root");
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let root_pem = root.self_signed(&root_key)?.pem();
        let issuer = Issuer::new(root, root_key);

        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(vec!["localhost".to_owned()])?;
        leaf.distinguished_name.push(DnType::CommonName, "wazap sandbox");
        leaf.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        leaf.subject_alt_names.push(SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = leaf.signed_by(&key, &issuer)?;
        Ok(Self { root_pem, leaf: leaf.der().to_vec(), key: key.serialize_der() })
    }
}

pub(super) fn acceptor(keys: &TlsKeys) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(keys.key.clone()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(keys.leaf.clone())], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The root as a file: in the state folder, or for as long as the sandbox runs.
pub(super) struct RootFile {
    pem: String,
    path: PathBuf,
    temporary: bool,
}

impl RootFile {
    pub(super) fn write(pem: &str, folder: Option<&Path>) -> Result<Self, TlsError> {
        let (path, temporary) = match folder {
            Some(folder) => (folder.join("tls-root.pem"), false),
            None => {
                let name = format!("wazap-sandbox-{}.pem", uuid::Uuid::new_v4());
                (std::env::temp_dir().join(name), true)
            }
        };
        let mut options = std::fs::OpenOptions::new();
        options.write(true);
        // In the folder that everybody writes to, never through a file that is there already.
        if temporary {
            options.create_new(true)
        } else {
            options.create(true).truncate(true)
        };
        options.open(&path)?.write_all(pem.as_bytes())?;
        Ok(Self { pem: pem.to_owned(), path, temporary })
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RootFile {
    fn drop(&mut self) {
        if self.temporary {
            // It may be gone already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
