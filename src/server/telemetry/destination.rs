//! Where things are sent: address, proxy, trusted certificates.

use std::time::Duration;

use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::config;
use crate::server::tls;

/// A collector, and the way to it.
pub(in crate::server) struct Destination {
    place: Place,
    pub(super) agent: ureq::Agent,
}

/// What makes one destination another.
#[derive(PartialEq, Eq)]
struct Place {
    /// Without a slash at the end.
    endpoint: String,
    headers: Vec<(String, String)>,
    service_name: String,
    interval: Duration,
    proxy: String,
    /// Of trusted authorities, DER; none where nothing is encrypted.
    roots: Vec<Vec<u8>>,
}

impl PartialEq for Destination {
    fn eq(&self, other: &Destination) -> bool {
        self.place == other.place
    }
}

impl Destination {
    /// Nothing where the configuration names no collector. A file of certificates is read here.
    ///
    /// # Errors
    /// One line: the authority or the proxy is not usable.
    pub(in crate::server) fn new(
        config: &config::Telemetry,
    ) -> Result<Option<Destination>, String> {
        if config.endpoint.is_empty() {
            return Ok(None);
        }
        let field = |secret: &config::Secret| {
            let (name, value) = secret.expose().split_once(':')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        let mut roots = Vec::new();
        if !config.ca_file.is_empty() {
            let own = tls::authorities(&config.ca_file);
            roots = own.map_err(|message| format!("telemetry: {message}"))?;
        }
        if config.endpoint.starts_with("https:") {
            roots.extend(tls::system_certificates());
        } else {
            roots.clear();
        }
        let place = Place {
            endpoint: config.endpoint.trim_end_matches('/').to_owned(),
            headers: config.headers.iter().filter_map(field).collect(),
            service_name: config.service_name.clone(),
            interval: Duration::from_millis(u64::from(config.interval)),
            proxy: config.proxy.clone(),
            roots: roots.iter().map(|root| root.to_vec()).collect(),
        };
        let agent = place.agent()?;
        Ok(Some(Destination { place, agent }))
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.place.endpoint
    }

    pub(super) fn headers(&self) -> &[(String, String)] {
        &self.place.headers
    }

    pub(super) fn service_name(&self) -> &str {
        &self.place.service_name
    }

    pub(super) fn interval(&self) -> Duration {
        self.place.interval
    }
}

impl Place {
    fn agent(&self) -> Result<ureq::Agent, String> {
        let proxy = match self.proxy.as_str() {
            "" => None,
            // What is wrong with it is not told: it may hold a password.
            url => Some(ureq::Proxy::new(url).map_err(|_| "telemetry.proxy is not usable")?),
        };
        let roots = self.roots.iter().map(|root| Certificate::from_der(root).to_owned());
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(proxy)
            // Deliveries are far apart: a kept connection would be stale by then.
            .max_idle_connections(0)
            .tls_config(TlsConfig::builder().root_certs(RootCerts::from(roots)).build())
            .build();
        Ok(agent.into())
    }
}
