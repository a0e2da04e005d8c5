//! Whom a client trusts over TLS.

use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig};

use crate::error::{Error, Result};

/// Names a file with the certificates that programs trust.
const VARIABLE: &str = "SSL_CERT_FILE";
/// Where systems keep it otherwise: Debian, Fedora, Alpine.
const BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Whom to trust, and by which name. The default: whom the system trusts, by the name that was dialled.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    ca: Option<Vec<u8>>,
    server_name: Option<String>,
}

impl Tls {
    /// The system's certificates: the file that `SSL_CERT_FILE` names, or the usual one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these certificates (PEM), and no others. The one that a broker made for itself may be among them.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(pem.into());
        self
    }

    /// Trusts the certificates of a file (PEM), and no others.
    ///
    /// # Errors
    /// [`Error::Tls`] if it cannot be read.
    pub fn ca_file(self, path: impl AsRef<Path>) -> Result<Self> {
        let pem = read(path.as_ref())?;
        Ok(self.ca_pem(pem))
    }

    /// The certificate is to be of this name, whatever was dialled.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    pub(crate) fn config(self) -> Result<ClientTlsConfig> {
        let pem = match self.ca {
            Some(pem) => pem,
            None => read(&bundle()?)?,
        };
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        Ok(match self.server_name {
            Some(name) => config.domain_name(name),
            None => config,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::Tls(format!("reading {}: {error}", path.display()));
    std::fs::read(path).map_err(failed)
}

/// The file with the system's certificates.
fn bundle() -> Result<PathBuf> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let usual = || {
        BUNDLES
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.exists())
    };
    named.or_else(usual).ok_or_else(|| {
        let what =
            format!("no certificates to trust: none of {BUNDLES:?} is there, nor {VARIABLE} set");
        Error::Tls(what)
    })
}
