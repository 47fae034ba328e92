//! `/dashboard`: a page that shows the running server, and the stream of figures that feeds it.
//!
//! The page is one document without any outside resource. Its style and scripts stand in it, and its
//! policy (CSP) names their digests: nothing else runs. Its charts are drawn by uPlot (`vendor/`). It holds no figure itself; those come as
//! server-sent events from `/dashboard/live`, which the guard of [`super::admin`] protects.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use super::{App, Step, answer};
use crate::base::error::Failure;
use crate::exchange::Exchange;

const STYLE: &str = concat!(include_str!("vendor/uPlot.min.css"), include_str!("page.css"));
/// The library that draws charts, as it was released.
const CHARTS: &str = include_str!("vendor/uPlot.iife.min.js");
const SCRIPT: &str = include_str!("page.js");
const BODY: &str = include_str!("page.html");

/// What the live stream's queue holds of a listener that does not read, in bytes.
const QUEUE_BYTES: usize = 256 * 1024;

struct Page {
    html: String,
    policy: String,
    tag: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let html = BODY
        .replace("/*style*/", STYLE)
        .replace("/*charts*/", CHARTS)
        .replace("/*script*/", SCRIPT);
    let digest = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}' 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest(STYLE),
        digest(CHARTS),
        digest(SCRIPT),
    );
    let tag = format!("\"{}\"", &digest(&html)[..22]);
    Page { html, policy, tag }
});

/// Answers with the page, or with 304 when the browser has it.
pub(super) fn page(exchange: &mut Exchange) {
    let page = &*PAGE;
    let has_it = exchange.request.header_values(b"if-none-match").any(|value| {
        // Compressed, it has gone out as a weak one.
        let is_it = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag) == page.tag.as_bytes();
        value.split(|&byte| byte == b',').any(|tag| is_it(tag.trim_ascii()))
    });
    let response = &mut exchange.response;
    if has_it {
        response.send(304, "text/html; charset=utf-8", b"");
    } else {
        response.send(200, "text/html; charset=utf-8", page.html.as_bytes());
    }
    for (name, value) in [
        ("ETag", page.tag.as_str()),
        ("Cache-Control", "no-cache"),
        ("Content-Security-Policy", page.policy.as_str()),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
    ] {
        response.headers.push(name.as_bytes(), value.as_bytes());
    }
}

/// Begins a stream of figures.
pub(super) fn live(app: &App, exchange: &mut Exchange) -> Step {
    if !app.status.has_room_to_watch() {
        let failure = Failure::new(503, "too many pages watch this server").code("overloaded");
        answer(exchange, &failure.retry_after(5));
        return Step::Respond;
    }
    let response = &mut exchange.response;
    response.status = 200;
    response.headers.push(b"Content-Type", b"text/event-stream");
    response.headers.push(b"Cache-Control", b"no-store");
    response.headers.push(b"X-Content-Type-Options", b"nosniff");
    let Some(queue) = exchange.start_stream(QUEUE_BYTES) else { return Step::Respond };
    app.status.watch(queue);
    Step::Later
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_loads_nothing() {
        let page = &*PAGE;
        assert!(page.html.starts_with("<!doctype html>"));
        assert!([STYLE, CHARTS, SCRIPT].into_iter().all(|part| page.html.contains(part)));
        let address_of_its_makers = "/*! https://github.com/leeoniya/uPlot (v1.6.32) */";
        assert!(CHARTS.starts_with(address_of_its_makers));
        let html = page.html.replace(address_of_its_makers, "");
        for outside in [
            "http://",
            "https://",
            "//cdn",
            "src=",
            "@import",
            "url(",
            "eval(",
            "new Function",
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
        ] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(!BODY.contains("style=") && !BODY.contains("onclick"));
        // What stands between the tags is what the policy names.
        assert!(BODY.contains("<style>/*style*/</style>"));
        assert!(BODY.contains("<script>/*charts*/</script>"));
        assert!(BODY.contains("<script>/*script*/</script>"));
        assert!([STYLE, CHARTS, SCRIPT].iter().all(|part| !part.contains("</")));
        let longest = CHARTS.len() + 32 * 1024;
        assert!(page.html.len() < longest, "{} bytes of page", page.html.len());
    }
}
