//! The server's certificate: the operator's, or one of its own.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{Config, ServeError};

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// The settings of the TLS side; makes a self-signed certificate at first start.
pub(crate) fn server_config(config: &Config) -> Result<Arc<ServerConfig>, ServeError> {
    let (certificate, key) = match &config.certificate {
        Some((certificate, key)) => (certificate.clone(), key.clone()),
        None => (config.tls_dir.join(CERTIFICATE), config.tls_dir.join(KEY)),
    };
    if config.certificate.is_none() && !(certificate.exists() && key.exists()) {
        make_self_signed(config, &certificate, &key)?;
    }
    if config.certificate.is_none() {
        // Clients that trust it would refuse another one after a power cut. Each time: a start may have been killed before.
        flush_folder(&config.tls_dir)?;
        let above = config.tls_dir.parent();
        above
            .filter(|path| !path.as_os_str().is_empty())
            .map_or(Ok(()), flush_folder)?;
    }
    load(&certificate, &key)
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, ServeError> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed("reading the certificate", certificate, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| failed("reading the key", key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth())
        .and_then(|builder| builder.with_single_cert(chain, secret))
        .map_err(|error| failed("using the certificate", certificate, &error))?;
    // Some clients refuse a server that does not name it.
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn make_self_signed(config: &Config, certificate: &Path, key: &Path) -> Result<(), ServeError> {
    let (certificate_pem, key_pem) = self_signed(names(config))
        .map_err(|error| ServeError::Tls(format!("making a certificate: {error}")))?;
    fs::create_dir_all(&config.tls_dir)
        .map_err(|error| failed("making the folder", &config.tls_dir, &error))?;
    // Of one without the other nothing can be made, and it must not be taken for the other's other half.
    remove(certificate)?;
    remove(key)?;
    flush_folder(&config.tls_dir)?;
    write(key, 0o600, &key_pem)?;
    write(certificate, 0o644, &certificate_pem)?;
    tracing::info!(certificate = %certificate.display(), "made a self-signed certificate");
    Ok(())
}

fn flush_folder(path: &Path) -> Result<(), ServeError> {
    fs::File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| failed("flushing the folder", path, &error))
}

fn remove(path: &Path) -> Result<(), ServeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("removing", path, &error))
        }
        _ => Ok(()),
    }
}

/// Under another name first: a crash or a full disk half-way leaves nothing that the next start takes for whole.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), ServeError> {
    let temporary = path.with_extension("tmp");
    let file = fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(mode)
        .open(&temporary);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|error| failed("writing", path, &error))
}

/// A certificate for these names, and its key, as PEM.
fn self_signed(names: Vec<String>) -> Result<(String, String), rcgen::Error> {
    let key = rcgen::KeyPair::generate()?;
    let mut request = rcgen::CertificateParams::new(names)?;
    request.distinguished_name = rcgen::DistinguishedName::new();
    request
        .distinguished_name
        .push(rcgen::DnType::CommonName, "FolioMQ");
    let certificate = request.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// What the certificate is for: this machine by every name that a client may dial.
fn names(config: &Config) -> Vec<String> {
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
        config.listen.ip().to_string(),
    ];
    names
        .extend(fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()));
    names.extend(
        config
            .advertise
            .as_deref()
            .and_then(|address| address.rsplit_once(':'))
            .map(|(host, _)| host.trim_matches(['[', ']']).to_owned()),
    );
    names.sort_unstable();
    names.dedup();
    names.retain(|name| !name.is_empty());
    names
}

fn failed(what: &str, path: &Path, error: &dyn std::error::Error) -> ServeError {
    ServeError::Tls(format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_could_not_be_written_whole_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(([127, 0, 0, 1], 0).into(), dir.path().to_owned());
        let in_the_way = dir.path().join("certificate.tmp");
        fs::create_dir(&in_the_way).unwrap();
        let error = server_config(&config).unwrap_err().to_string();
        assert!(error.contains(CERTIFICATE), "{error}");
        assert!(!dir.path().join(CERTIFICATE).exists());
        fs::remove_dir(&in_the_way).unwrap();
        server_config(&config).unwrap();
        server_config(&config).unwrap();
        for name in [CERTIFICATE, KEY] {
            let of_both =
                || [CERTIFICATE, KEY].map(|name| fs::read(dir.path().join(name)).unwrap());
            let before = of_both();
            fs::remove_file(dir.path().join(name)).unwrap();
            server_config(&config).unwrap();
            assert!(before.iter().zip(&of_both()).all(|(old, new)| old != new));
        }
    }
}
