//! One request to a model on its way to a provider and back, without I/O.
//!
//! [`Call`] knows what was asked and which targets remain; each [`Outgoing`] is one attempt. What
//! the upstream sends is read by an [`Inbound`].

use std::sync::Arc;

use super::inbound::{Inbound, Kind, stream_head};
use super::provider::Provider;
use super::{App, Pull};
use crate::ai::chat;
use crate::ai::dialect::{Dialect, Meta, StreamEncoder};
use crate::ai::provider::{Codec, EncodedRequest, Wire, codec, echo};
use crate::ai::router::Plan;
use crate::ai::scan::{self, Scan};
use crate::ai::tokenizer::{self, Encoding};
use crate::base::error::Failure;
use crate::exchange::{Request, Response};
use crate::http::encode;
use crate::http::head::Known;

/// The bytes a request came in.
#[derive(Clone)]
pub enum Asked {
    /// An HTTP request.
    Request(Arc<Request>),
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
            Asked::Bytes { body, .. } => body,
        }
    }

    fn id(&self) -> &str {
        match self {
            Asked::Request(request) => request.id_text(),
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
            return self.local(provider, response);
        };
        let info = provider.target(&target.model);
        let head = std::mem::take(&mut self.head);
        let towards = Towards { index, provider, head };
        match codec.native_path(self.dialect, &info) {
            Some(path) => Ok(self.pass_through(towards, codec, &path, &target.model)),
            None if self.dialect == Dialect::AnthropicCountTokens => self.count(response),
            None => self.translate(towards, codec, &target.model, response),
        }
    }

    fn local(&self, provider: &Provider, response: &mut Response) -> Result<Attempt, Failure> {
        if provider.wire != Wire::Echo {
            let message = format!("the provider {} cannot be spoken to", provider.name);
            return Err(Failure::new(501, message));
        }
        if self.dialect == Dialect::AnthropicCountTokens {
            return self.count(response);
        }
        let request = self.dialect.decode_request(self.asked.body())?;
        if self.scan.stream {
            stream_head(response);
            return Ok(Attempt::LocalStream(Box::new(EchoPull {
                generator: echo::generate(&request),
                encoder: self.dialect.stream_encoder(self.meta(), request.include_usage),
            })));
        }
        let reply: chat::Reply = echo::reply(&request);
        response.status = 200;
        response.headers.push(b"Content-Type", b"application/json");
        self.dialect.encode_reply(&reply, &self.meta(), &mut response.body);
        Ok(Attempt::LocalWhole)
    }

    /// A count of tokens by our own encoding, for providers that have no such method.
    fn count(&self, response: &mut Response) -> Result<Attempt, Failure> {
        let request = self.dialect.decode_request(self.asked.body())?;
        let prompt_tokens = tokenizer::count_request(Encoding::O200k, &request);
        let usage = chat::Usage { prompt_tokens, ..chat::Usage::default() };
        let reply = chat::Reply { usage: Some(usage), ..chat::Collector::new().reply() };
        response.status = 200;
        response.headers.push(b"Content-Type", b"application/json");
        self.dialect.encode_reply(&reply, &self.meta(), &mut response.body);
        Ok(Attempt::LocalWhole)
    }

    fn pass_through(
        &self,
        towards: Towards<'_>,
        codec: &'static dyn Codec,
        path: &str,
        model: &str,
    ) -> Attempt {
        let Towards { index, provider, mut head } = towards;
        self.make_room(&mut head, provider);
        let body = self.asked.body();
        let patched = (self.scan.model.as_deref() != Some(model))
            .then(|| scan::patch_model(body, &self.scan, model));
        let body_len = patched.as_ref().map_or(body.len(), Vec::len);
        self.begin_head(&mut head, provider, path);
        head.extend_from_slice(&provider.credential);
        match &self.asked {
            Asked::Request(request) => forward_fields(request, &mut head),
            Asked::Bytes { .. } => encode::field(&mut head, b"Content-Type", b"application/json"),
        }
        for (name, value) in codec.default_headers() {
            let is_said = match &self.asked {
                Asked::Request(request) => request.header_values(name.as_bytes()).next().is_some(),
                Asked::Bytes { .. } => false,
            };
            if !is_said {
                encode::field(&mut head, name.as_bytes(), value.as_bytes());
            }
        }
        end_head(&mut head, body_len);
        let kind = if self.scan.stream { Kind::PassStream } else { Kind::PassWhole };
        let outgoing = Outgoing { provider: index, head, patched, asked: self.asked.clone() };
        Attempt::Remote(outgoing, self.inbound(kind))
    }

    fn translate(
        &self,
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
        if let Asked::Request(request) = &self.asked
            && let Some(agent) = request.known(Known::UserAgent)
        {
            encode::field(&mut head, b"User-Agent", agent);
        }
        end_head(&mut head, encoded.body.len());
        if !encoded.dropped.is_empty() {
            let _ =
                response.set_header(b"x-neurohttp-dropped", encoded.dropped.join(",").as_bytes());
        }
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
        Ok(Attempt::Remote(outgoing, self.inbound(kind)))
    }

    fn inbound(&self, kind: Kind) -> Inbound {
        Inbound::new(kind, self.scan.stream, self.dialect)
    }

    /// Room for a head: that of the client, and what we add.
    fn make_room(&self, head: &mut Vec<u8>, provider: &Provider) {
        let asked = match &self.asked {
            Asked::Request(request) => request.raw().len(),
            Asked::Bytes { .. } => 0,
        };
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
        if let Asked::Request(request) = &self.asked {
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

/// An echo as the body of a stream.
struct EchoPull {
    generator: echo::EchoGenerator,
    encoder: Box<dyn StreamEncoder>,
}

impl Pull for EchoPull {
    fn pull(&mut self, out: &mut Vec<u8>, bytes_wanted: usize) -> crate::exchange::Taken {
        while out.len() < bytes_wanted {
            match self.generator.next() {
                Some(delta) => self.encoder.event(&delta, out),
                None => {
                    self.encoder.finish(out);
                    return crate::exchange::Taken::End;
                }
            }
        }
        crate::exchange::Taken::More
    }
}
