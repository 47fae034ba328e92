//! What the firewall would say of a raw request, and why. Nothing is counted.

use std::net::IpAddr;

use super::screen::profile_of;
use super::{App, Matched};
use crate::base::limits::HEADER_FIELDS_MAX;
use crate::exchange::{Peer, Request};
use crate::firewall::{Action, Moment, Refusal};
use crate::http::framing::BodyDecoder;
use crate::http::head::{self, HeadLimits, Progress, RequestHead};
use crate::http::target::{self, Target};

/// What would happen to a raw request from an address. Nothing is counted.
///
/// # Errors
/// Why it is no request.
pub fn explain(
    app: &App,
    address: IpAddr,
    raw: &[u8],
    moment: Moment,
) -> Result<serde_json::Value, String> {
    let firewall = &app.firewall;
    let request = read_request(app, address, raw)?;
    let simple = |action: &str, reason: &str| {
        serde_json::json!({
            "action": action, "score": 0, "rule": "", "part": "address", "reason": reason,
        })
    };
    if !firewall.is_enabled() {
        return Ok(simple("allow", "the firewall is off"));
    }
    if firewall.is_allowed(address, moment.unix_s) {
        return Ok(simple("allow", "the address is on the allow list"));
    }
    match firewall.standing(address, moment) {
        Some(Refusal::Denied(_)) => return Ok(simple("block", "the address is on the deny list")),
        Some(Refusal::Blocked(blocked)) => {
            let reason = format!("the address is blocked: {}", blocked.cause.name());
            return Ok(simple("block", &reason));
        }
        _ => {}
    }
    if !firewall.inspects() {
        return Ok(simple("allow", "requests are not inspected"));
    }
    let mut judgement = firewall.inspect_head(&request);
    if judgement.action < Action::Limit && !request.body().is_empty() {
        let profile = profile_of(&request, &Matched::Nothing);
        let head = judgement;
        judgement = firewall.inspect_body(&request, profile, head.score);
        judgement.action = judgement.action.max(head.action);
        judgement.findings.splice(0..0, head.findings);
    }
    Ok(judgement.to_json())
}

/// Reads one whole request. A body may be shorter than its head says.
fn read_request(app: &App, address: IpAddr, raw: &[u8]) -> Result<Request, String> {
    let limits = HeadLimits {
        request_line: app.settings.request_line_bytes_max,
        header_section: app.settings.header_section_bytes_max,
        fields: HEADER_FIELDS_MAX,
    };
    let mut parsed = RequestHead::new();
    let mut target = Target::new();
    match head::parse_request(raw, &limits, &mut parsed) {
        Ok(Progress::Complete) => {}
        Ok(Progress::Partial) => return Err("the request's head has no end".to_owned()),
        Err(error) => return Err(format!("it would get {}: {}", error.status(), error.message())),
    }
    target::resolve(&parsed, raw, &mut target)
        .map_err(|error| format!("it would get {}: {}", error.status(), error.message()))?;
    let (bytes, rest) = raw.split_at_checked(parsed.size).unwrap_or((raw, &[]));
    let mut decoder = BodyDecoder::new(parsed.body);
    let mut request = Request::default();
    let peer = Peer::Tcp(std::net::SocketAddr::new(address, 0));
    request.fill(bytes, &mut parsed, &mut target, peer, 0);
    let mut at = 0;
    while let Some(left) = rest.get(at..).filter(|left| !left.is_empty()) {
        let piece = decoder.decode(left).map_err(|error| format!("it would get 400: {error}"))?;
        request.body_mut().extend_from_slice(left.get(piece.data.clone()).unwrap_or_default());
        at += piece.consumed;
        if piece.done || piece.consumed == 0 {
            break;
        }
    }
    Ok(request)
}
