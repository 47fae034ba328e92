//! One request to a model on its way to a provider and back, without I/O.
//!
//! [`Call`] knows what was asked and which targets remain; each [`Outgoing`] is one attempt. What
//! the upstream sends is read by an [`Inbound`]. When client and provider speak the same dialect
//! the bytes pass unread but for a watch on the usage; else a decoder and an encoder stand between.

use std::sync::Arc;

use super::provider::Provider;
use super::{App, Pull};
use crate::ai::dialect::{Dialect, Meta, StreamEncoder};
use crate::ai::health::Trouble;
use crate::ai::provider::{
    Codec, EncodedRequest, StreamDecoder, Wire, codec, decode_failure, echo,
};
use crate::ai::retry::{self, Budget, Where};
use crate::ai::router::{HashOn, Picked, Plan, RouteTarget};
use crate::ai::scan::{self, Scan};
use crate::ai::tokenizer::{self, Encoding};
use crate::ai::usage::Watch;
use crate::ai::{balance, chat};
use crate::base::error::Failure;
use crate::base::limits;
use crate::exchange::{Request, Response};
use crate::http::head::{Body, Known, ResponseHead};
use crate::http::{date, encode};

/// The bytes a request came in.
#[derive(Clone)]
pub enum Asked {
    /// An HTTP request.
    Request(Arc<Request>),
    /// A call of the host program.
    Bytes(Arc<[u8]>),
}

impl Asked {
    /// The JSON body.
    pub fn body(&self) -> &[u8] {
        match self {
            Asked::Request(request) => request.body(),
            Asked::Bytes(bytes) => bytes,
        }
    }
}

/// One request to a model.
pub struct Call {
    asked: Asked,
    dialect: Dialect,
    scan: Scan,
    plan: Plan,
    meta: Meta,
    /// What the strategy goes by, when it goes by the request.
    hashed: Option<u64>,
    /// The target that is asked now.
    current: Option<Picked>,
    /// The one to ask next.
    next: Option<Picked>,
    /// Targets that were asked, a bit for each.
    tried: u64,
    /// How many times one was asked, and how many times one that had been asked before.
    tries: u32,
    repeats: u32,
}

/// What the moment adds to a decision: pure layers have neither clock nor chance.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic, in milliseconds.
    pub now_ms: u64,
    /// Any number.
    pub random: u64,
}

/// What came of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The target answers.
    Good,
    /// It does not.
    Bad(Trouble),
    /// It asks for a rest, in milliseconds; 0: as long as a broken one gets.
    Rest(u64),
    /// Nothing was learnt about it.
    Unknown,
}

impl Verdict {
    /// What an answer that failed says of its target.
    pub fn of(failure: &Failure) -> Verdict {
        let wait_ms = failure.retry_after_s.map(|seconds| u64::from(seconds) * 1_000);
        match (failure.upstream_status, wait_ms) {
            (Some(429), wait_ms) => Verdict::Rest(wait_ms.unwrap_or(0)),
            (Some(500..), Some(wait_ms)) if wait_ms > 0 => Verdict::Rest(wait_ms),
            // The request's own fault: who finds one answers.
            (Some(400 | 404 | 413 | 422), _) => Verdict::Good,
            _ if failure.status == 503 && failure.upstream_status.is_none() => Verdict::Unknown,
            _ => Verdict::Bad(Trouble::Answer),
        }
    }
}

/// One attempt.
pub enum Attempt {
    /// Another process answers.
    Remote(Box<Outgoing>, Box<Inbound>),
    /// Echo answers, as a stream.
    LocalStream(Box<dyn Pull>),
    /// Echo has answered: the response is complete.
    LocalWhole,
}

/// What goes out.
pub struct Outgoing {
    /// To whom.
    pub provider: Arc<Provider>,
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
    pub fn new(asked: Asked, dialect: Dialect, scan: Scan, plan: Plan, meta: Meta) -> Call {
        let hashed = match plan.hash_on() {
            None => None,
            Some(HashOn::User) => scan.user.as_ref().map(|user| balance::hash(user.as_bytes())),
            Some(HashOn::Header(name)) => match &asked {
                Asked::Request(request) => {
                    let mut value = Vec::new();
                    request.header(name.as_bytes(), &mut value).then(|| balance::hash(&value))
                }
                Asked::Bytes(_) => None,
            },
        };
        Call {
            asked,
            dialect,
            scan,
            plan,
            meta,
            hashed,
            current: None,
            next: None,
            tried: 0,
            tries: 0,
            repeats: 0,
        }
    }

    /// Whether the client asked for a stream.
    pub fn is_stream(&self) -> bool {
        self.scan.stream
    }

    /// The model's name as the client is told it.
    pub fn model(&self) -> &str {
        &self.plan.model
    }

    /// The dialect of the client.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether another target could be asked now.
    pub fn has_other(&self, now_ms: u64) -> bool {
        self.plan.has_open(self.tried, now_ms)
    }

    /// The next attempt. `response` is filled with what the answer's head will say whoever sends
    /// it, and with the answer itself when echo gives it.
    ///
    /// # Errors
    /// What to tell the client: no target can be asked, or the request cannot be put for it.
    pub fn attempt(
        &mut self,
        app: &App,
        moment: Moment,
        response: &mut Response,
    ) -> Result<Attempt, Failure> {
        self.conclude(app, Verdict::Unknown, moment);
        let Moment { now_ms, random } = moment;
        let picked = match self.next.take() {
            Some(picked) => picked,
            None => self
                .plan
                .pick(self.tried, self.tries == 0, now_ms, random, self.hashed)
                .ok_or_else(|| self.plan.nobody(now_ms))?,
        };
        self.current = Some(picked);
        self.tried |= 1 << picked.index;
        self.tries += 1;
        let plan = &self.plan;
        let Some(target) = plan.route.targets.get(picked.index) else {
            return Err(plan.nobody(now_ms));
        };
        if plan.reads_load() {
            target.state.load.begin();
        }
        let Some(provider) = app.providers.get(target.provider) else {
            return Err(Failure::new(503, "the model's provider has gone").code("no_target"));
        };
        let provider = Arc::clone(provider);
        response.clear();
        mark(response, &provider.name, &plan.model);
        let Some(codec) = codec(provider.wire) else {
            return self.local(&provider, response);
        };
        let model = plan.upstream_model(target);
        let info = provider.target(model);
        match codec.native_path(self.dialect, &info) {
            Some(path) => Ok(self.pass_through(Arc::clone(&provider), codec, &path, model)),
            None if self.dialect == Dialect::AnthropicCountTokens => self.count(response),
            None => self.translate(Arc::clone(&provider), codec, model, response),
        }
    }

    /// The target that is asked now.
    fn target(&self) -> Option<&RouteTarget> {
        self.current.and_then(|picked| self.plan.route.targets.get(picked.index))
    }

    /// The first token of the current attempt came after so long.
    pub fn measured(&self, took_us: u64, now_ms: u64) {
        if let Some(target) = self.target()
            && self.plan.reads_load()
        {
            target.state.load.measured(took_us, now_ms);
        }
    }

    /// The target answers, though its answer is not complete.
    pub fn is_good(&mut self) {
        if let Some(target) = self.target() {
            target.state.health.good();
            target.link.good();
        }
        if let Some(picked) = &mut self.current {
            picked.is_probe = false;
        }
    }

    /// The current attempt is over. Whether its target's circuit has opened by it.
    pub fn conclude(&mut self, app: &App, verdict: Verdict, moment: Moment) -> bool {
        let Moment { now_ms, random } = moment;
        let breaker = &app.settings.breaker;
        if verdict == Verdict::Good {
            self.is_good();
        }
        let Some(target) = self.target() else { return false };
        let opened = match verdict {
            Verdict::Good | Verdict::Unknown => false,
            Verdict::Bad(Trouble::Answer) => {
                target.state.health.bad(Trouble::Answer, breaker, now_ms, random)
            }
            Verdict::Bad(trouble) => target.link.bad(trouble, breaker, now_ms, random),
            Verdict::Rest(rest_ms) => {
                let rest_ms = if rest_ms == 0 { breaker.pause_ms } else { rest_ms };
                target.state.health.rest(rest_ms, now_ms);
                true
            }
        };
        self.leave();
        opened
    }

    /// The current attempt is over, its verdict is spoken.
    fn leave(&mut self) {
        let Some(picked) = self.current.take() else { return };
        let Some(target) = self.plan.route.targets.get(picked.index) else { return };
        if self.plan.reads_load() {
            target.state.load.end();
        }
        if picked.is_probe {
            target.state.health.unproven();
            target.link.unproven();
        }
    }

    /// An attempt has failed and nothing of its answer has gone out: after how many milliseconds
    /// another one is due. None: the failure is the answer.
    pub fn try_again(
        &mut self,
        app: &App,
        failure: &Failure,
        was_opened: bool,
        budget: &mut Budget,
        moment: Moment,
    ) -> Option<u64> {
        let Moment { now_ms, random } = moment;
        let rule = &app.settings.retry;
        let place = retry::place(failure);
        if place == Where::Nowhere || self.tries > rule.attempts {
            return None;
        }
        if let Some(other) = self.plan.pick(self.tried, false, now_ms, random, self.hashed) {
            // Leaving a target that is taken out makes no storm: nobody goes there any more.
            if was_opened || budget.spend(now_ms) {
                self.next = Some(other);
                return Some(0);
            }
            self.release(other);
            return None;
        }
        if place != Where::Anywhere {
            return None;
        }
        let wait_ms = failure.retry_after_s.map(|seconds| u64::from(seconds) * 1_000);
        let pause_ms = rule.pause_ms(self.repeats, wait_ms, random)?;
        let again = self.plan.pick(!self.tried, false, now_ms, random, self.hashed);
        // Where there is only one, it may be on its way back.
        let again = again.or_else(|| {
            let is_only = self.plan.route.targets.len() == 1;
            (is_only || wait_ms.is_some())
                .then_some(Picked { index: self.tried.trailing_zeros() as usize, is_probe: false })
        })?;
        if !budget.spend(now_ms) {
            self.release(again);
            return None;
        }
        self.repeats += 1;
        self.next = Some(again);
        Some(pause_ms)
    }

    /// A target that was picked is not asked after all.
    fn release(&self, picked: Picked) {
        if let Some(target) = self.plan.route.targets.get(picked.index)
            && picked.is_probe
        {
            target.state.health.unproven();
            target.link.unproven();
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
                encoder: self.dialect.stream_encoder(self.meta.clone(), request.include_usage),
            })));
        }
        let reply: chat::Reply = echo::reply(&request);
        response.status = 200;
        response.headers.push(b"Content-Type", b"application/json");
        self.dialect.encode_reply(&reply, &self.meta, &mut response.body);
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
        self.dialect.encode_reply(&reply, &self.meta, &mut response.body);
        Ok(Attempt::LocalWhole)
    }

    fn pass_through(
        &self,
        provider: Arc<Provider>,
        codec: &'static dyn Codec,
        path: &str,
        model: &str,
    ) -> Attempt {
        let body = self.asked.body();
        let patched = (self.scan.model.as_deref() != Some(model))
            .then(|| scan::patch_model(body, &self.scan, model));
        let body_len = patched.as_ref().map_or(body.len(), Vec::len);
        let mut head = Vec::with_capacity(512);
        self.begin_head(&mut head, &provider, path);
        head.extend_from_slice(&provider.credential);
        match &self.asked {
            Asked::Request(request) => forward_fields(request, &mut head),
            Asked::Bytes(_) => encode::field(&mut head, b"Content-Type", b"application/json"),
        }
        for (name, value) in codec.default_headers() {
            let is_said = match &self.asked {
                Asked::Request(request) => request.header_values(name.as_bytes()).next().is_some(),
                Asked::Bytes(_) => false,
            };
            if !is_said {
                encode::field(&mut head, name.as_bytes(), value.as_bytes());
            }
        }
        end_head(&mut head, body_len);
        let kind = if self.scan.stream { Kind::PassStream } else { Kind::PassWhole };
        let outgoing = Outgoing { provider, head, patched, asked: self.asked.clone() };
        Attempt::Remote(Box::new(outgoing), Box::new(self.inbound(kind)))
    }

    fn translate(
        &self,
        provider: Arc<Provider>,
        codec: &'static dyn Codec,
        model: &str,
        response: &mut Response,
    ) -> Result<Attempt, Failure> {
        let mut request = self.dialect.decode_request(self.asked.body())?;
        request.stream = self.scan.stream;
        let mut encoded = EncodedRequest::default();
        codec.encode_request(&request, &provider.target(model), &mut encoded)?;
        let mut head = Vec::with_capacity(512);
        self.begin_head(&mut head, &provider, &encoded.path_and_query);
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
                encoder: self.dialect.stream_encoder(self.meta.clone(), request.include_usage),
            }
        } else {
            Kind::TranslateWhole { codec, body: Vec::new() }
        };
        let patched = Some(encoded.body);
        let outgoing = Outgoing { provider, head, patched, asked: self.asked.clone() };
        Ok(Attempt::Remote(Box::new(outgoing), Box::new(self.inbound(kind))))
    }

    fn inbound(&self, kind: Kind) -> Inbound {
        Inbound {
            kind,
            is_stream_asked: self.scan.stream,
            dialect: self.dialect,
            meta: self.meta.clone(),
            watch: Watch::new(),
            told: None,
            held: Vec::new(),
            error: None,
        }
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

impl Drop for Call {
    fn drop(&mut self) {
        self.leave();
        if let Some(next) = self.next.take() {
            self.release(next);
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
fn is_listed(connection: Option<&[u8]>, name: &[u8]) -> bool {
    let Some(list) = connection else { return false };
    list.split(|&b| b == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(name))
}

/// Says who answers. Names that could split the head are left out.
fn mark(response: &mut Response, provider: &str, model: &str) {
    response.headers.push(b"x-neurohttp-cache", b"bypass");
    let _ = response.set_header(b"x-neurohttp-provider", provider.as_bytes());
    let _ = response.set_header(b"x-neurohttp-model", model.as_bytes());
}

/// The head of a streamed answer. Proxies in front of us must not collect it.
fn stream_head(response: &mut Response) {
    response.status = 200;
    response.headers.push(b"Content-Type", b"text/event-stream");
    response.headers.push(b"Cache-Control", b"no-cache");
    response.headers.push(b"X-Accel-Buffering", b"no");
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

// ---- the way back ----

enum Kind {
    /// A whole answer passes.
    PassWhole,
    /// A stream of events passes, whole events at a time.
    PassStream,
    TranslateWhole {
        codec: &'static dyn Codec,
        body: Vec<u8>,
    },
    TranslateStream {
        decoder: Box<dyn StreamDecoder>,
        encoder: Box<dyn StreamEncoder>,
    },
}

/// An upstream's error answer while its body comes in.
struct ErrorAnswer {
    status: u16,
    retry_after_s: Option<u32>,
    content_type: Vec<u8>,
    body: Vec<u8>,
}

/// Reads what an upstream answers.
pub struct Inbound {
    kind: Kind,
    is_stream_asked: bool,
    dialect: Dialect,
    meta: Meta,
    watch: Watch,
    /// What a translated answer told.
    told: Option<chat::Usage>,
    /// The beginning of an event whose end has not come.
    held: Vec<u8>,
    error: Option<ErrorAnswer>,
}

/// How the answer goes on after its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterHead {
    /// The client's head can go out; this many body bytes follow, or chunks.
    Forward(Option<u64>),
    /// Nothing goes out before the whole body is here.
    Collect,
}

impl Inbound {
    /// The upstream's head has come. On `Forward` the response holds the client's head.
    ///
    /// # Errors
    /// The answer cannot be used, whatever follows.
    pub fn on_head(
        &mut self,
        head: &ResponseHead,
        raw: &[u8],
        now_unix_s: i64,
        response: &mut Response,
    ) -> Result<AfterHead, Failure> {
        let value = |known| head.find(known).map(|field| field.value.of(raw));
        if head.status >= 300 {
            if head.status < 400 {
                let message = "the provider answered with a redirect";
                return Err(Failure::new(502, message).code("upstream_failed"));
            }
            self.error = Some(ErrorAnswer {
                status: head.status,
                retry_after_s: value(Known::RetryAfter).and_then(|v| retry_after(v, now_unix_s)),
                content_type: value(Known::ContentType).unwrap_or(b"application/json").to_vec(),
                body: Vec::new(),
            });
            return Ok(AfterHead::Collect);
        }
        let is_events = value(Known::ContentType)
            .is_some_and(|v| starts_with_any_case(v, b"text/event-stream"));
        match &self.kind {
            Kind::PassStream | Kind::PassWhole => {
                // What the upstream says its body is decides, not what was asked for.
                self.kind = if is_events { Kind::PassStream } else { Kind::PassWhole };
                response.status = head.status;
                forward_answer_fields(head, raw, response);
                if is_events {
                    response.headers.remove(b"cache-control");
                    response.headers.push(b"Cache-Control", b"no-cache");
                    response.headers.push(b"X-Accel-Buffering", b"no");
                    return Ok(AfterHead::Forward(None));
                }
                Ok(AfterHead::Forward(match head.body {
                    Body::Length(bytes) => Some(bytes),
                    Body::None => Some(0),
                    Body::Chunked | Body::UntilClose => None,
                }))
            }
            Kind::TranslateStream { .. }
                if is_events || !self.is_json(value(Known::ContentType)) =>
            {
                stream_head(response);
                Ok(AfterHead::Forward(None))
            }
            Kind::TranslateStream { .. } => {
                let message = "the provider did not answer with a stream";
                Err(Failure::new(502, message).code("upstream_failed"))
            }
            Kind::TranslateWhole { .. } => {
                response.status = 200;
                response.headers.push(b"Content-Type", b"application/json");
                Ok(AfterHead::Collect)
            }
        }
    }

    fn is_json(&self, content_type: Option<&[u8]>) -> bool {
        content_type.is_some_and(|v| starts_with_any_case(v, b"application/json"))
    }

    /// Whether this piece is the first the client would see of the answer itself.
    pub fn is_token(&self) -> bool {
        self.error.is_none()
    }

    /// Body bytes have come; appends what the client gets now.
    ///
    /// # Errors
    /// The provider's own error in its stream, garbage, or too much.
    pub fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        if let Some(error) = &mut self.error {
            return collect(&mut error.body, data, limits::UPSTREAM_ERROR_BYTES_MAX);
        }
        match &mut self.kind {
            Kind::PassWhole => {
                self.watch.feed(data);
                out.extend_from_slice(data);
                Ok(())
            }
            Kind::PassStream => {
                self.watch.feed(data);
                pass_events(&mut self.held, data, out);
                Ok(())
            }
            Kind::TranslateWhole { body, .. } => {
                collect(body, data, limits::UPSTREAM_ANSWER_BYTES_MAX)
            }
            Kind::TranslateStream { decoder, encoder } => decoder.feed(data, &mut |delta| {
                if let chat::Delta::Usage(usage) = &delta {
                    self.told = Some(*usage);
                }
                encoder.event(&delta, out);
            }),
        }
    }

    /// The body has ended as its framing says; appends the rest. On a collected answer the response
    /// is complete.
    ///
    /// # Errors
    /// What the client is told instead; `Failure` statuses as CONTRACT maps them.
    pub fn on_end(&mut self, response: &mut Response, out: &mut Vec<u8>) -> Result<(), Failure> {
        if let Some(error) = self.error.take() {
            return Err(self.upstream_error(error, response));
        }
        match &mut self.kind {
            Kind::PassWhole => Ok(()),
            Kind::PassStream => {
                // A last event without its blank line is still the client's.
                out.append(&mut self.held);
                Ok(())
            }
            Kind::TranslateWhole { codec, body } => {
                let reply = codec.decode_reply(200, body)?;
                self.told = reply.usage;
                response.body.clear();
                self.dialect.encode_reply(&reply, &self.meta, &mut response.body);
                Ok(())
            }
            Kind::TranslateStream { decoder, encoder } => {
                let is_whole = decoder.finish(&mut |delta| {
                    if let chat::Delta::Usage(usage) = &delta {
                        self.told = Some(*usage);
                    }
                    encoder.event(&delta, out);
                })?;
                if is_whole {
                    encoder.finish(out);
                    return Ok(());
                }
                Err(cut_off())
            }
        }
    }

    /// The client has seen the beginning of a stream that cannot go on: appends the dialect's error
    /// event. False when what it has seen is no stream: then only cutting tells the truth.
    pub fn fail_stream(&mut self, failure: &Failure, out: &mut Vec<u8>) -> bool {
        match &mut self.kind {
            Kind::PassStream => {
                self.held.clear();
                let mut encoder = self.dialect.stream_encoder(self.meta.clone(), false);
                encoder.fail(failure, out);
                true
            }
            Kind::TranslateStream { encoder, .. } => {
                encoder.fail(failure, out);
                true
            }
            Kind::PassWhole | Kind::TranslateWhole { .. } => false,
        }
    }

    /// Tokens the provider told of, prompt and completion.
    pub fn usage(&self) -> Option<(u64, u64)> {
        let usage = self.told.or_else(|| self.watch.usage());
        usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens))
    }

    /// Whether the client asked for a stream: then the first token has a deadline of its own.
    pub fn is_stream(&self) -> bool {
        self.is_stream_asked
    }

    /// An error that is the client's to know passes with its body when both speak one dialect.
    fn upstream_error(&self, error: ErrorAnswer, response: &mut Response) -> Failure {
        let failure = decode_failure(error.status, error.retry_after_s, &error.body);
        let passes = matches!(self.kind, Kind::PassStream | Kind::PassWhole)
            && failure.status == error.status
            && !error.body.is_empty();
        if passes {
            response.status = error.status;
            if encode::valid_value(&error.content_type) {
                response.headers.remove(b"content-type");
                response.headers.push(b"Content-Type", &error.content_type);
            }
            response.body = error.body;
        }
        failure
    }
}

/// The failure for an answer that stops in the middle.
pub fn cut_off() -> Failure {
    Failure::new(502, "the provider's answer was cut off").code("upstream_cut")
}

fn collect(body: &mut Vec<u8>, data: &[u8], bytes_max: usize) -> Result<(), Failure> {
    if body.len() + data.len() > bytes_max {
        let message = "the provider's answer is too large";
        return Err(Failure::new(502, message).code("upstream_too_large"));
    }
    body.extend_from_slice(data);
    Ok(())
}

/// Hands whole events on and holds the beginning of the next one: a client must never see half an
/// event before an error. An event that grows beyond the bound passes in pieces.
fn pass_events(held: &mut Vec<u8>, data: &[u8], out: &mut Vec<u8>) {
    if held.is_empty() && data.ends_with(b"\n\n") {
        out.extend_from_slice(data);
        return;
    }
    // The end of an event can lie across the cut.
    let overlap = held.len().min(3);
    held.extend_from_slice(data);
    let from = held.len() - data.len() - overlap;
    match last_event_end(&held[from..]) {
        Some(end) => {
            out.extend_from_slice(&held[..from + end]);
            held.drain(..from + end);
        }
        None if held.len() > limits::HELD_EVENT_BYTES_MAX => out.append(held),
        None => {}
    }
}

/// Where the last complete event of `bytes` ends: behind an empty line, whatever its line ends.
fn last_event_end(bytes: &[u8]) -> Option<usize> {
    const ENDS: [&[u8]; 4] = [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"];
    ENDS.iter().filter_map(|end| memchr::memmem::rfind(bytes, end).map(|at| at + end.len())).max()
}

/// The upstream's fields that are the client's business.
fn forward_answer_fields(head: &ResponseHead, raw: &[u8], response: &mut Response) {
    let connection = head.find(Known::Connection).map(|field| field.value.of(raw));
    for field in &head.fields {
        let is_ours = matches!(
            field.known,
            Known::Connection
                | Known::ContentLength
                | Known::TransferEncoding
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::Te
                | Known::Trailer
                | Known::Upgrade
                | Known::Date
                | Known::Server
                | Known::XRequestId
        );
        let name = field.name.of(raw);
        if is_ours || is_private_answer(name) || is_listed(connection, name) {
            continue;
        }
        // A field that does not fit any more is left out; the answer matters more.
        let _ = response.add_header(name, field.value.of(raw));
    }
}

/// Fields of an upstream that mean nothing, or too much, behind a gateway.
fn is_private_answer(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 4] =
        [b"set-cookie", b"alt-svc", b"strict-transport-security", b"proxy-authenticate"];
    NAMES.iter().any(|private| name.eq_ignore_ascii_case(private))
        || name.len() >= 12 && name[..12].eq_ignore_ascii_case(b"x-neurohttp-")
        || name.len() >= 15 && name[..15].eq_ignore_ascii_case(b"access-control-")
}

/// Retry-After in seconds: a number or a date (RFC 9110 section 10.2.3), at most a day.
fn retry_after(value: &[u8], now_unix_s: i64) -> Option<u32> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let seconds = match text.parse::<u32>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let ahead = date::parse(text.as_bytes())?.saturating_sub(now_unix_s).max(0);
            u32::try_from(ahead).unwrap_or(u32::MAX)
        }
    };
    Some(seconds.min(86_400))
}

fn starts_with_any_case(value: &[u8], prefix: &[u8]) -> bool {
    value.len() >= prefix.len() && value[..prefix.len()].eq_ignore_ascii_case(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_pass_whole_wherever_they_are_cut() {
        for text in [
            "data: a\n\ndata: b\n\ndata: [DONE]\n\n",
            "data: a\r\n\r\ndata: b\r\n\r\n",
            "data: a\r\rdata: b\r\r: ping\r\r",
            "event: x\ndata: 1\n\nid: 7\n\ndata: tail without end",
        ] {
            for cut in 0..=text.len() {
                let (mut held, mut out) = (Vec::new(), Vec::new());
                for part in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                    pass_events(&mut held, part, &mut out);
                    let whole = out.is_empty()
                        || [&b"\n\n"[..], b"\r\n\r\n", b"\r\r"]
                            .iter()
                            .any(|end| out.ends_with(end));
                    assert!(whole, "half an event passed: {out:?}");
                }
                out.append(&mut held);
                assert_eq!(out, text.as_bytes(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn an_endless_event_does_not_grow_without_bound() {
        let (mut held, mut out) = (Vec::new(), Vec::new());
        let mut fed = 0;
        for _ in 0..100 {
            let piece = [b'x'; 10_000];
            fed += piece.len();
            pass_events(&mut held, &piece, &mut out);
            assert!(held.len() <= limits::HELD_EVENT_BYTES_MAX);
        }
        assert_eq!(out.len() + held.len(), fed);
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        for (value, want) in [
            ("7", Some(7)),
            (" 12 ", Some(12)),
            ("999999999", Some(86_400)),
            ("Thu, 01 Jan 1970 00:02:00 GMT", Some(20)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Tue, 31 Dec 2199 23:59:59 GMT", Some(86_400)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(value.as_bytes(), 100), want, "{value}");
        }
    }
}
