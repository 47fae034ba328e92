//! TLS towards providers: rustls, certificates verified against the system's authorities and a
//! private one where configured.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::pipeline::Provider;

/// The system's authorities, read once: the files change rarely and are large.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(system_certificates());
        roots
    })
}

/// The certificates of the system's authorities.
pub(super) fn system_certificates() -> Vec<CertificateDer<'static>> {
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::warn!("a certificate of the system cannot be read: {error}");
    }
    loaded.certs
}

/// The certificates of a private authority, out of a PEM file.
///
/// # Errors
/// One line: the file cannot be read or holds none.
pub(super) fn authorities(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("ca_file {file}: {error}");
    let found = CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error))?;
    let mut probe = RootCertStore::empty();
    for certificate in &found {
        probe.add(certificate.clone()).map_err(|error| wrong(&error))?;
    }
    if found.is_empty() {
        return Err(wrong(&"it holds no certificate"));
    }
    Ok(found)
}

/// The client configuration for a provider; sessions are resumed within it.
///
/// # Errors
/// One line: the private authority cannot be read.
pub(super) fn client_config(provider: &Provider) -> Result<Arc<ClientConfig>, String> {
    let mut roots = system_roots().clone();
    if !provider.ca_file.is_empty() {
        roots.add_parsable_certificates(authorities(&provider.ca_file)?);
    }
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A connection that has not shaken hands yet.
///
/// # Errors
/// One line: the host cannot be a server name.
pub(super) fn connection(
    config: &Arc<ClientConfig>,
    host: &str,
) -> Result<ClientConnection, String> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host} is no name a certificate can be for"))?;
    let mut connection =
        ClientConnection::new(Arc::clone(config), name).map_err(|error| error.to_string())?;
    connection.set_buffer_limit(Some(64 * 1024));
    Ok(connection)
}
