//! Who may use `/admin/*` and `/dashboard`: whoever shows `admin.key`, or without one whoever sits
//! at this machine.

use std::net::IpAddr;

use super::super::App;
use super::super::auth::{credential, is_loopback, same, split_scheme};
use crate::base::error::Failure;
use crate::exchange::{Peer, Request};
use crate::http::head::Known;
use crate::http::method::Method;

/// Fields by which a proxy says that it speaks for somebody else.
const FORWARDED: [&[u8]; 4] = [b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"];

/// Whether a path is the operator's.
pub fn is_guarded(path: &[u8]) -> bool {
    [&b"/admin"[..], b"/dashboard"].iter().any(|own| {
        path.strip_prefix(*own).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    })
}

/// Checks a request for one of the operator's routes.
///
/// With `admin.key` set, the request must show it: `Authorization: Bearer KEY` or `x-api-key: KEY`.
/// Without one, the peer must be this machine (a loopback address or a Unix socket), Host must name
/// the loopback, and so must Origin if there is one: a web page must not get here through a name of
/// its own. A request that a proxy has passed on comes from somewhere else, whatever its peer is.
///
/// What changes something must not come from another page of the browser either, and its body, if
/// it has one, must be `application/json`, which no plain form can send.
///
/// # Errors
/// 401 for a missing or wrong key, 403 for a request from elsewhere, 415 for another type of body.
pub fn check(app: &App, request: &Request) -> Result<(), Failure> {
    match app.guard.admin_key() {
        // The page itself holds no figure, and a browser can show no key before it has a page to
        // ask for it.
        Some(_) if is_page(request) => {}
        Some(key) => {
            let given = credential(request);
            if !given.is_some_and(|given| same(key, given)) {
                let message = match given {
                    Some(_) => "the admin key is not valid",
                    None => "the admin key is needed: Authorization: Bearer KEY, or x-api-key: KEY",
                };
                return Err(Failure::new(401, message).code("invalid_admin_key"));
            }
        }
        None => {
            let is_here = match request.peer() {
                Peer::Tcp(address) => is_own(address.ip()),
                Peer::Unix => true,
            };
            let is_passed_on =
                FORWARDED.iter().any(|name| request.header_values(name).next().is_some());
            if !is_here || is_passed_on || !is_named_loopback(request) {
                let message = "without admin.key only this machine is answered, under a loopback \
                               name; set admin.key";
                return Err(Failure::new(403, message).code("not_loopback"));
            }
        }
    }
    if matches!(request.method(), Method::Get | Method::Head | Method::Options) {
        return Ok(());
    }
    if !is_of_this_page(request) {
        let message = "a page of another origin cannot change anything here";
        return Err(Failure::new(403, message).code("cross_origin"));
    }
    let is_json = || {
        let value = request.known(Known::ContentType).unwrap_or_default();
        let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        kind.eq_ignore_ascii_case(b"application/json")
    };
    if !is_json() {
        let message = "what changes something needs Content-Type: application/json";
        return Err(Failure::new(415, message).code("unsupported_media_type"));
    }
    Ok(())
}

fn is_page(request: &Request) -> bool {
    request.path() == b"/dashboard" && matches!(request.method(), Method::Get | Method::Head)
}

fn is_own(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn is_named_loopback(request: &Request) -> bool {
    let host = request.head().host.of(request.raw());
    let origin_fits = match request.known(Known::Origin) {
        None => true,
        Some(origin) => split_scheme(origin).is_some_and(is_loopback),
    };
    is_loopback(host) && origin_fits
}

/// Origin, if there is one, is what Host names; a browser that says where the request was made says
/// so too.
fn is_of_this_page(request: &Request) -> bool {
    let host = request.head().host.of(request.raw());
    let same_origin = match request.known(Known::Origin) {
        None => true,
        Some(origin) => {
            split_scheme(origin).is_some_and(|authority| authority.eq_ignore_ascii_case(host))
        }
    };
    let mut sites = request.header_values(b"sec-fetch-site");
    same_origin && sites.all(|site| [&b"same-origin"[..], b"none"].contains(&site))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_operator_are_told_from_others() {
        for (path, want) in [
            ("/admin", true),
            ("/admin/", true),
            ("/admin/models", true),
            ("/dashboard", true),
            ("/dashboard/app.js", true),
            ("/administrator", false),
            ("/", false),
            ("/v1/admin", false),
        ] {
            assert_eq!(is_guarded(path.as_bytes()), want, "{path}");
        }
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for (address, want) in [
            ("127.0.0.1", true),
            ("127.8.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_own(address.parse().unwrap()), want, "{address}");
        }
    }
}
