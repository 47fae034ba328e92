//! The proxies of the environment: `http_proxy`, `https_proxy` and `no_proxy` as curl reads them.
//!
//! `HTTP_PROXY` in capitals is not read: in a CGI program a client could set it with a header.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::Config;
use super::check;

/// Gives every provider without a `proxy` of its own, and the collector of telemetry, the one the
/// environment names for it.
pub(super) fn apply(config: &mut Config, environment: &BTreeMap<String, String>) {
    let mut notes = Vec::new();
    let mut take = |proxy: &mut String, url: &str, who: &dyn Fn() -> String| {
        if !proxy.is_empty() {
            return;
        }
        match named_for(url, environment).map(|named| (check::proxy_url(&named), named)) {
            Some((Ok(()), named)) => *proxy = named,
            // It may hold a password: the note names who would have used it only.
            Some((Err(expected), _)) => notes.push(format!(
                "the proxy that the environment names for {} is not used: {expected} is expected",
                who()
            )),
            None => {}
        }
    };
    for provider in &mut config.provider {
        let name = &provider.name;
        take(&mut provider.proxy, &provider.base_url, &|| format!("provider {name}"));
    }
    let telemetry = &mut config.telemetry;
    take(&mut telemetry.proxy, &telemetry.endpoint, &|| "telemetry".to_owned());
    config.notes.append(&mut notes);
}

/// The proxy that the environment names for a URL, as a URL.
fn named_for(url: &str, environment: &BTreeMap<String, String>) -> Option<String> {
    let set = |names: &[&str]| {
        names.iter().find_map(|name| environment.get(*name).filter(|value| !value.is_empty()))
    };
    let (scheme, rest) = url.split_once("://")?;
    if set(&["no_proxy", "NO_PROXY"]).is_some_and(|list| is_direct(list, host_of(rest))) {
        return None;
    }
    let named = match scheme {
        "https" => set(&["https_proxy", "HTTPS_PROXY"]),
        _ => set(&["http_proxy"]),
    };
    let named = named.or_else(|| set(&["all_proxy", "ALL_PROXY"]))?;
    Some(if named.contains("://") { named.clone() } else { format!("http://{named}") })
}

/// The host of `HOST[:PORT][/PATH]`, without brackets.
fn host_of(rest: &str) -> &str {
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        Some((host, _)) => host,
        None => authority.split(':').next().unwrap_or(authority),
    }
}

/// Whether a `no_proxy` list names the host: itself, a domain it is in, or `*`.
fn is_direct(list: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.trim_start_matches('.').to_ascii_lowercase();
        entry == "*"
            || host == entry
            || host.strip_suffix(entry.as_str()).is_some_and(|front| front.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Provider;

    #[test]
    fn the_environment_names_the_proxy() {
        for (base, own, variables, want) in [
            ("https://api.x.com/v1", "", &[("https_proxy", "http://p:1")][..], "http://p:1"),
            ("https://api.x.com/v1", "", &[("HTTPS_PROXY", "p:1")], "http://p:1"),
            ("http://api.x.com/v1", "", &[("http_proxy", "http://p:1")], "http://p:1"),
            ("http://api.x.com/v1", "", &[("HTTP_PROXY", "http://p:1")], ""),
            ("http://api.x.com/v1", "", &[("https_proxy", "http://p:1")], ""),
            ("http://h", "", &[("all_proxy", "http://p:1")], "http://p:1"),
            ("http://h", "http://own:2", &[("http_proxy", "http://p:1")], "http://own:2"),
            (
                "http://127.0.0.1:9/v1",
                "",
                &[("http_proxy", "http://p:1"), ("no_proxy", "127.0.0.1")],
                "",
            ),
            ("http://a.x.com", "", &[("http_proxy", "http://p:1"), ("no_proxy", "b, .x.com")], ""),
            (
                "http://ax.com",
                "",
                &[("http_proxy", "http://p:1"), ("no_proxy", "x.com")],
                "http://p:1",
            ),
            ("http://h", "", &[("http_proxy", "http://p:1"), ("NO_PROXY", "*")], ""),
            ("http://h", "", &[("http_proxy", "socks5://p:1")], ""),
        ] {
            let provider = Provider {
                name: "x".into(),
                base_url: base.into(),
                proxy: own.into(),
                ..Provider::default()
            };
            let mut config = Config { provider: vec![provider], ..Config::default() };
            config.telemetry.endpoint = base.into();
            config.telemetry.proxy = own.into();
            let environment =
                variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            apply(&mut config, &environment);
            assert_eq!(config.provider[0].proxy, want, "{base} {variables:?}");
            assert_eq!(config.telemetry.proxy, want, "{base} {variables:?}");
        }
    }
}
