//! TLS towards clients: the certificates of `[[tls]]` and which of them answers a name.
//!
//! A certificate is chosen by the names that stand in it: the name a client asks for (SNI, RFC
//! 6066 section 3) exactly, then a wildcard for its first label (RFC 6125 section 6.4.3), then the
//! first table; so clients that ask for no name, or one that nobody has, get that one.
//!
//! Each table has its own authorities for client certificates and its own sessions: one that was
//! opened without a certificate under one name cannot be resumed under another that wants one.
//! There is no early data: it could be replayed.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::config::TlsCertificate;

/// Every certificate of a server.
pub(super) struct Certificates {
    /// One for each table, in its order; at least one.
    configs: Vec<Arc<ServerConfig>>,
    /// Which of them a name in lower case leads to; `*.` begins a wildcard.
    names: HashMap<String, usize>,
}

impl Certificates {
    /// Reads what the tables name. `None` without any.
    ///
    /// # Errors
    /// One line that names the file.
    pub(super) fn load(tables: &[TlsCertificate]) -> Result<Option<Certificates>, String> {
        let mut configs = Vec::new();
        let mut names = HashMap::new();
        for (index, table) in tables.iter().enumerate() {
            let chain = read_chain(&table.cert)?;
            for name in names_of(&chain, &table.cert)? {
                names.entry(name).or_insert(index);
            }
            configs.push(Arc::new(server_config(table, chain)?));
        }
        Ok((!configs.is_empty()).then_some(Certificates { configs, names }))
    }

    /// What to answer a client with that asks for this name.
    pub(super) fn of(&self, name: Option<&str>) -> &Arc<ServerConfig> {
        let index = name.and_then(|name| self.index_of(name)).unwrap_or(0);
        &self.configs[index]
    }

    fn index_of(&self, name: &str) -> Option<usize> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(index) = self.names.get(&name) {
            return Some(*index);
        }
        let (_, parent) = name.split_once('.')?;
        self.names.get(&format!("*.{parent}")).copied()
    }
}

fn wrong(file: &str, why: &dyn Display) -> String {
    format!("[[tls]] {file}: {why}")
}

fn read_chain(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).map_err(|error| wrong(file, &error))?.collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(wrong(file, &"it holds no PEM certificate")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(wrong(file, &error)),
    }
}

/// The DNS names of the first certificate, in lower case.
fn names_of(chain: &[CertificateDer<'_>], file: &str) -> Result<Vec<String>, String> {
    let Some(first) = chain.first() else { return Ok(Vec::new()) };
    let certificate =
        webpki::EndEntityCert::try_from(first).map_err(|error| wrong(file, &error))?;
    Ok(certificate.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

fn server_config(
    table: &TlsCertificate,
    chain: Vec<CertificateDer<'static>>,
) -> Result<ServerConfig, String> {
    let key =
        PrivateKeyDer::from_pem_file(&table.key).map_err(|error| wrong(&table.key, &error))?;
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&crypto))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&table.cert, &error))?;
    let builder = if table.client_ca.is_empty() {
        builder.with_no_client_auth()
    } else {
        let file = &table.client_ca;
        let mut roots = RootCertStore::empty();
        for authority in read_chain(file)? {
            roots.add(authority).map_err(|error| wrong(file, &error))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto)
            .build()
            .map_err(|error| wrong(file, &error))?;
        builder.with_client_cert_verifier(verifier)
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("[[tls]] {} and {}: {error}", table.cert, table.key))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // The strongest suite that both know, whatever a client names first.
    config.ignore_client_order = true;
    config.ticketer = rustls::crypto::ring::Ticketer::new()
        .map_err(|error| format!("no keys for session tickets: {error}"))?;
    Ok(config)
}
