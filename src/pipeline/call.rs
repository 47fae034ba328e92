//! One request to a model on its way to a provider and back, without I/O.
//!
//! [`Call`] knows what was asked and which targets remain; each [`Outgoing`] is one attempt. What
//! the upstream sends is read by an [`Inbound`].

use std::sync::Arc;

use super::generation::{Generator, Question};
use super::hooks::Watched;
use super::inbound::{Inbound, Kind};
use super::provider::Provider;
use super::{App, Pull};
use crate::ai::dialect::{Dialect, Meta};
use crate::ai::provider::{Codec, EncodedRequest, codec};
use crate::ai::router::Plan;
use crate::ai::scan::{self, Scan};
use crate::base::error::Failure;
use crate::exchange::{Request, Response};
use crate::http::encode;
use crate::http::head::Known;

/// The bytes a request came in.
#[derive(Clone)]
pub enum Asked {
    /// An HTTP request.
    Request(Arc<Request>),
    /// An HTTP request whose body hooks have edited.
    Edited(Arc<Request>, Arc<[u8]>),
    /// A call of the host program.
    Bytes {
        /// Its JSON.
        body: Arc<[u8]>,
        /// What stands for a request id.
        id: Arc<str>,
    },
}

impl Asked {
    /// The JSON body.
    pub fn body(&self) -> &[u8] {
        match self {
            Asked::Request(request) => request.body(),
            Asked::Edited(_, body) | Asked::Bytes { body, .. } => body,
        }
    }

    /// The HTTP request.
    fn request(&self) -> Option<&Arc<Request>> {
        match self {
            Asked::Request(request) | Asked::Edited(request, _) => Some(request),
            Asked::Bytes { .. } => None,
        }
    }

    fn id(&self) -> &str {
        match self {
            Asked::Request(request) | Asked::Edited(request, _) => request.id_text(),
            Asked::Bytes { id, .. } => id,
        }
    }
}

/// One request to a model.
pub struct Call {
    asked: Asked,
    dialect: Dialect,
    scan: Scan,
    plan: Plan,
    /// When the first attempt began, Unix seconds.
    created: i64,
    next: usize,
    /// Memory for the head that goes out.
    head: Vec<u8>,
}

/// One attempt.
#[expect(clippy::large_enum_variant, reason = "the usual variant; it is taken apart at once")]
pub enum Attempt {
    /// Another process answers.
    Remote(Outgoing, Inbound),
    /// Echo answers, as a stream.
    LocalStream(Box<dyn Pull>),
    /// Echo has answered: the response is complete.
    LocalWhole,
    /// A model of the host program answers.
    Make(Box<Making>),
    /// The answer's body has to be worked out; where it takes long, on the blocking pool.
    Work {
        /// Makes the body, JSON.
        work: Box<dyn FnOnce() -> Vec<u8> + Send>,
        /// It takes no longer than a loop may.
        is_quick: bool,
    },
}

/// A model of the host program is to answer.
pub struct Making {
    /// The model.
    pub generator: Arc<dyn Generator>,
    /// What it is asked.
    pub question: Arc<Question>,
    /// Whose timeouts count: the index among the snapshot's providers.
    pub provider: usize,
    /// Takes what it says.
    pub inbound: Inbound,
}

/// Where an attempt goes, and memory for its head.
struct Towards<'a> {
    index: usize,
    provider: &'a Provider,
    head: Vec<u8>,
}

/// What goes out.
pub struct Outgoing {
    /// To whom: the index among the snapshot's providers.
    pub provider: usize,
    /// The head.
    pub head: Vec<u8>,
    /// The body, unless the asked bytes go out as they are.
    pub patched: Option<Vec<u8>>,
    asked: Asked,
}

impl Outgoing {
    /// The body.
    pub fn body(&self) -> &[u8] {
        self.patched.as_deref().unwrap_or_else(|| self.asked.body())
    }
}

impl Call {
    /// A call for `asked`, whose targets stand in `plan`.
    pub fn new(asked: Asked, dialect: Dialect, scan: Scan, plan: Plan) -> Call {
        Call { asked, dialect, scan, plan, created: 0, next: 0, head: Vec::new() }
    }

    /// Lends it memory for the head that goes out, which comes back as [`Outgoing::head`].
    pub fn lend_head(&mut self, head: Vec<u8>) {
        self.head = head;
    }

    /// What an answer of ours says of itself. Made when it is needed: what passes unread has no
    /// use for it.
    pub fn meta(&self) -> Meta {
        let (prefix, id) = (self.dialect.id_prefix(), self.asked.id());
        let mut text = String::with_capacity(prefix.len() + id.len());
        text.push_str(prefix);
        text.extend(id.chars().filter(char::is_ascii_alphanumeric));
        Meta { id: text, model: self.plan.model.clone(), created: self.created }
    }

    /// Has the prompt hooks see the request. Once, on the loop, before the first attempt and before
    /// anything else looks at the body.
    ///
    /// # Errors
    /// A hook refuses it.
    pub fn prepare(&mut self, app: &App) -> Result<(), Failure> {
        let edited = app.hooks.edit_request(self.dialect, &self.plan.model, self.asked.body())?;
        if let Some(body) = edited {
            self.scan = scan::scan(&body)?;
            let body = body.into();
            self.asked = match &self.asked {
                Asked::Request(request) | Asked::Edited(request, _) => {
                    Asked::Edited(Arc::clone(request), body)
                }
                Asked::Bytes { id, .. } => Asked::Bytes { body, id: Arc::clone(id) },
            };
        }
        Ok(())
    }

    /// What is asked, JSON.
    pub(super) fn body(&self) -> &[u8] {
        self.asked.body()
    }

    /// The model's name as the client is told it.
    pub(super) fn model(&self) -> &str {
        &self.plan.model
    }

    /// Whether the client asked for a stream.
    pub fn is_stream(&self) -> bool {
        self.scan.stream
    }

    /// The dialect of the client.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether there is a target that was not tried.
    pub fn has_next(&self) -> bool {
        self.next < self.plan.targets.len()
    }

    /// The next attempt. `response` is filled with what the answer's head will say whoever sends
    /// it, and with the answer itself when echo gives it.
    ///
    /// # Errors
    /// What to tell the client: the request cannot be put for this target.
    pub fn attempt(
        &mut self,
        app: &App,
        now_unix_s: i64,
        response: &mut Response,
    ) -> Result<Attempt, Failure> {
        if self.next == 0 {
            self.created = now_unix_s;
        }
        let Some(target) = self.plan.targets.get(self.next) else {
            return Err(Failure::new(503, "no target of the model is left").code("no_target"));
        };
        self.next += 1;
        let Some(provider) = app.providers.get(target.provider) else {
            return Err(Failure::new(503, "the model's provider has gone").code("no_target"));
        };
        let index = target.provider;
        response.clear();
        mark(response, &provider.name, &self.plan.model);
        let Some(codec) = codec(provider.wire) else {
            return self.local(app, index, provider, &target.model, response);
        };
        let info = provider.target(&target.model);
        let head = std::mem::take(&mut self.head);
        let towards = Towards { index, provider, head };
        match codec.native_path(self.dialect, &info) {
            Some(path) => Ok(self.pass_through(app, towards, codec, &path, &target.model)),
            None if self.dialect == Dialect::AnthropicCountTokens => self.count(),
            None => self.translate(app, towards, codec, &target.model, response),
        }
    }

    fn pass_through(
        &self,
        app: &App,
        towards: Towards<'_>,
        codec: &'static dyn Codec,
        path: &str,
        model: &str,
    ) -> Attempt {
        let Towards { index, provider, mut head } = towards;
        self.make_room(&mut head, provider);
        let body = self.asked.body();
        let asks_usage = app.settings.asks_stream_usage
            && self.scan.stream
            && !self.scan.include_usage
            && codec.asks_for_usage(self.dialect, &provider.target(model));
        let patch = scan::Patch { model: Some(model), include_usage: asks_usage };
        let is_changed = asks_usage || self.scan.model.as_deref() != Some(model);
        let patched = is_changed.then(|| scan::patch(body, &self.scan, &patch));
        let body_len = patched.as_ref().map_or(body.len(), Vec::len);
        self.begin_head(&mut head, provider, path);
        head.extend_from_slice(&provider.credential);
        match self.asked.request() {
            Some(request) => forward_fields(request, &mut head),
            None => encode::field(&mut head, b"Content-Type", b"application/json"),
        }
        for (name, value) in codec.default_headers() {
            let is_said = self
                .asked
                .request()
                .is_some_and(|request| request.header_values(name.as_bytes()).next().is_some());
            if !is_said {
                encode::field(&mut head, name.as_bytes(), value.as_bytes());
            }
        }
        end_head(&mut head, body_len);
        let kind = if self.scan.stream { Kind::PassStream } else { Kind::PassWhole };
        let outgoing = Outgoing { provider: index, head, patched, asked: self.asked.clone() };
        let watched = app.hooks.watch(&self.plan.model, self.scan.stream);
        let inbound = self.inbound(kind, watched).hiding_usage(asks_usage);
        Attempt::Remote(outgoing, inbound)
    }

    fn translate(
        &self,
        app: &App,
        towards: Towards<'_>,
        codec: &'static dyn Codec,
        model: &str,
        response: &mut Response,
    ) -> Result<Attempt, Failure> {
        let mut request = self.dialect.decode_request(self.asked.body())?;
        request.stream = self.scan.stream;
        let mut encoded = EncodedRequest::default();
        codec.encode_request(&request, &towards.provider.target(model), &mut encoded)?;
        let Towards { index, provider, mut head } = towards;
        self.make_room(&mut head, provider);
        self.begin_head(&mut head, provider, &encoded.path_and_query);
        for (name, value) in &encoded.headers {
            encode::field(&mut head, name.as_bytes(), value.as_bytes());
        }
        if let Some(request) = self.asked.request()
            && let Some(agent) = request.known(Known::UserAgent)
        {
            encode::field(&mut head, b"User-Agent", agent);
        }
        end_head(&mut head, encoded.body.len());
        tell_dropped(app, &encoded, response)?;
        let kind = if self.scan.stream {
            Kind::TranslateStream {
                decoder: codec.stream_decoder(),
                encoder: self.dialect.stream_encoder(self.meta(), request.include_usage),
            }
        } else {
            Kind::TranslateWhole { codec, meta: Box::new(self.meta()), body: Vec::new() }
        };
        let patched = Some(encoded.body);
        let outgoing = Outgoing { provider: index, head, patched, asked: self.asked.clone() };
        let watched = app.hooks.watch(&self.plan.model, self.scan.stream);
        Ok(Attempt::Remote(outgoing, self.inbound(kind, watched)))
    }

    /// Whether the client can read an answer in this content coding, which nobody asked for
    /// (RFC 9110 section 12.5.3: who says nothing can).
    pub(super) fn accepts_coding(&self, codings: &[u8]) -> bool {
        let Asked::Request(request) = &self.asked else { return false };
        let mut accepted = Vec::new();
        let mut has_said = false;
        for value in request.header_values(b"accept-encoding") {
            has_said = true;
            for item in value.split(|&b| b == b',') {
                let mut parts = item.split(|&b| b == b';').map(<[u8]>::trim_ascii);
                let name = parts.next().unwrap_or_default();
                let is_refused = parts.any(|p| {
                    let weight = p.strip_prefix(b"q=").or_else(|| p.strip_prefix(b"Q="));
                    weight.is_some_and(|w| !w.iter().any(|b| matches!(b, b'1'..=b'9')))
                });
                accepted.push((name, !is_refused));
            }
        }
        !has_said
            || codings.split(|&b| b == b',').map(<[u8]>::trim_ascii).all(|coding| {
                let named = accepted.iter().find(|(name, _)| name.eq_ignore_ascii_case(coding));
                let any = || accepted.iter().find(|(name, _)| *name == b"*");
                named.or_else(any).is_some_and(|(_, is_accepted)| *is_accepted)
            })
    }

    pub(super) fn inbound(&self, kind: Kind, watched: Option<Box<Watched>>) -> Inbound {
        Inbound::new(kind, self.scan.stream, self.dialect, watched)
    }

    /// Room for a head: that of the client, and what we add.
    fn make_room(&self, head: &mut Vec<u8>, provider: &Provider) {
        let asked = self.asked.request().map_or(0, |request| request.raw().len());
        head.clear();
        head.reserve(256 + asked + provider.credential.len() + provider.base.authority.len());
    }

    /// Request line, Host and what every attempt says. Towards a plain-http provider behind a
    /// proxy the target is in absolute form (RFC 9112 section 3.2.2).
    fn begin_head(&self, head: &mut Vec<u8>, provider: &Provider, path: &str) {
        head.extend_from_slice(b"POST ");
        let via_proxy = provider.proxy.as_ref().filter(|_| !provider.base.is_tls);
        if via_proxy.is_some() {
            head.extend_from_slice(b"http://");
            head.extend_from_slice(provider.base.authority.as_bytes());
        }
        head.extend_from_slice(provider.base.path.as_bytes());
        head.extend_from_slice(path.as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\n");
        encode::field(head, b"Host", provider.base.authority.as_bytes());
        if let Some(proxy) = via_proxy {
            head.extend_from_slice(&proxy.authorization);
        }
        if let Some(request) = self.asked.request() {
            encode::field(head, b"x-request-id", request.id());
        }
    }
}

fn end_head(head: &mut Vec<u8>, body_len: usize) {
    // What passes unread is watched for its usage: so no compression.
    head.extend_from_slice(b"Accept-Encoding: identity\r\nContent-Length: ");
    encode::decimal(head, body_len as u64);
    head.extend_from_slice(b"\r\n\r\n");
}

/// The client's fields that are the provider's business: not those of this hop (RFC 9110 section
/// 7.6.1), not those that we say ourselves, and no credential.
fn forward_fields(request: &Request, head: &mut Vec<u8>) {
    let connection = request.known(Known::Connection);
    for index in 0..request.header_count() {
        let Some((name, value)) = request.header_at(index) else { continue };
        let known = request.head().fields.get(index).map_or(Known::Other, |field| field.known);
        let is_ours = matches!(
            known,
            Known::Host
                | Known::Connection
                | Known::ContentLength
                | Known::TransferEncoding
                | Known::Expect
                | Known::Authorization
                | Known::XApiKey
                | Known::XRequestId
                | Known::AcceptEncoding
                | Known::Cookie
                | Known::Origin
                | Known::Referer
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::Te
                | Known::Trailer
                | Known::Upgrade
                | Known::XForwardedFor
                | Known::Forwarded
        );
        if is_ours || is_private(name) || is_listed(connection, name) {
            continue;
        }
        encode::field(head, name, value);
    }
}

/// Fields without a known number that stay on this hop all the same.
fn is_private(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] = [
        b"proxy-authorization",
        b"proxy-authenticate",
        b"api-key",
        b"x-real-ip",
        b"x-goog-api-key",
    ];
    NAMES.iter().any(|private| name.eq_ignore_ascii_case(private))
        || name.len() >= 11 && name[..11].eq_ignore_ascii_case(b"x-forwarded")
        || name.len() >= 10 && name[..10].eq_ignore_ascii_case(b"sec-fetch-")
}

/// Whether a Connection field names this one.
pub(super) fn is_listed(connection: Option<&[u8]>, name: &[u8]) -> bool {
    let Some(list) = connection else { return false };
    list.split(|&b| b == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(name))
}

/// Says what of a request did not reach the model.
///
/// # Errors
/// The configuration has such requests refused.
pub(super) fn tell_dropped(
    app: &App,
    encoded: &EncodedRequest,
    response: &mut Response,
) -> Result<(), Failure> {
    let Some(first) = encoded.dropped.first() else { return Ok(()) };
    let names = encoded.dropped.join(",");
    if app.settings.refuses_dropped {
        let message = format!("the provider of this model has no place for: {names}");
        let failure = Failure::new(400, message).code("unsupported_parameter");
        return Err(failure.param(first.clone()));
    }
    let _ = response.set_header(b"x-neurohttp-dropped", names.as_bytes());
    Ok(())
}

/// Longest name of a model or provider that the answer's head repeats, in bytes.
const MARK_BYTES_MAX: usize = 1024;

/// Says who answers, in a response without headers. Names that could split the head are left out.
fn mark(response: &mut Response, provider: &str, model: &str) {
    response.headers.push(b"x-neurohttp-cache", b"bypass");
    for (name, value) in [
        (&b"x-neurohttp-provider"[..], provider.as_bytes()),
        (&b"x-neurohttp-model"[..], model.as_bytes()),
    ] {
        if encode::valid_value(value) && value.len() <= MARK_BYTES_MAX {
            response.headers.push(name, value);
        }
    }
}
