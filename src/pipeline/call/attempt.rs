//! One attempt of a call: where it goes and what goes out.

use std::sync::Arc;

use super::head::{end_head, forward_fields};
use super::{Asked, Call, Moment, Verdict};
use crate::ai::balance;
use crate::ai::chat::Usage;
use crate::ai::dialect::Dialect;
use crate::ai::provider::{Codec, EncodedRequest, codec};
use crate::ai::router::Picked;
use crate::ai::scan;
use crate::base::error::Failure;
use crate::exchange::Response;
use crate::http::encode;
use crate::http::head::Known;
use crate::pipeline::generation::{Generator, Question};
use crate::pipeline::hooks::Watched;
use crate::pipeline::inbound::{Inbound, Kind};
use crate::pipeline::provider::Provider;
use crate::pipeline::text_guard::Guarded;
use crate::pipeline::{App, Pull};

/// One attempt.
#[expect(clippy::large_enum_variant, reason = "the usual variant; it is taken apart at once")]
pub enum Attempt {
    /// Another process answers.
    Remote(Outgoing, Inbound),
    /// Echo answers, as a stream.
    LocalStream(Box<dyn Pull>),
    /// Echo has answered: the response is complete, and took these tokens.
    LocalWhole(Usage),
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
    /// The next attempt. `response` is filled with what the answer's head will say whoever sends
    /// it, and with the answer itself when echo gives it. Targets in whose format the request cannot
    /// be put are passed over.
    ///
    /// # Errors
    /// What to tell the client: no target can be asked, or the request cannot be put for any.
    pub fn attempt(
        &mut self,
        app: &App,
        moment: Moment,
        response: &mut Response,
    ) -> Result<Attempt, Failure> {
        self.conclude(app, Verdict::Unknown, moment);
        if self.tries == 0 {
            self.created = moment.second;
        }
        let Moment { now_ms, random, .. } = moment;
        let mut picked = match self.next.take() {
            Some(picked) => picked,
            None => self
                .plan
                .pick(self.tried | self.unfit, self.tries == 0, now_ms, random, self.hashed)
                .ok_or_else(|| self.plan.nobody(now_ms))?,
        };
        self.tries += 1;
        loop {
            let failure = match self.attempt_at(app, picked, moment, response) {
                Err(failure) if failure.status == 400 => failure,
                done => return done,
            };
            // What an earlier target has failed by says more than what a later one cannot take.
            let failure = self.failed_by.take().map_or(failure, |earlier| *earlier);
            let other = self.plan.pick(self.tried | self.unfit, false, now_ms, random, self.hashed);
            let Some(other) = other else { return Err(failure) };
            self.failed_by = Some(Box::new(failure));
            self.leave();
            picked = other;
        }
    }

    fn attempt_at(
        &mut self,
        app: &App,
        picked: Picked,
        moment: Moment,
        response: &mut Response,
    ) -> Result<Attempt, Failure> {
        let Moment { now_ms, random, .. } = moment;
        self.current = Some(picked);
        self.tried |= 1 << picked.index;
        // Of the number that chose the target another one; never zero.
        self.span_id = (balance::mix(!random) | 1).to_be_bytes();
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
        let index = target.provider;
        response.clear();
        mark(response, &provider.name, &plan.model);
        let Some(codec) = codec(provider.wire) else {
            return self.local(app, index, provider, plan.upstream_model(target), response);
        };
        let head = std::mem::take(&mut self.head);
        let model = self.plan.upstream_model(target);
        let info = provider.target(model);
        let towards = Towards { index, provider, head };
        match codec.native_path(self.dialect, &info) {
            Some(path) => Ok(self.pass_through(app, towards, codec, &path, model)),
            None if self.dialect == Dialect::AnthropicCountTokens => self.count(),
            None => self.translate(app, towards, codec, model, response),
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
        // A limit of tokens needs the usage, which a stream tells only when it is asked for.
        let asks_usage = (app.settings.asks_stream_usage || self.charge.is_some())
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
            Some(request) => forward_fields(request, self.trace.is_some(), &mut head),
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
        let watched = self.watched(app);
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
        let include_usage = request.include_usage;
        let meta = self.meta_for(request);
        let kind = if self.scan.stream {
            Kind::TranslateStream {
                decoder: codec.stream_decoder(),
                encoder: self.dialect.stream_encoder(meta, include_usage),
            }
        } else {
            Kind::TranslateWhole { codec, meta: Box::new(meta), body: Vec::new() }
        };
        let patched = Some(encoded.body);
        let outgoing = Outgoing { provider: index, head, patched, asked: self.asked.clone() };
        let watched = self.watched(app);
        Ok(Attempt::Remote(outgoing, self.inbound(kind, watched)))
    }

    /// What sees the answer besides the client.
    pub(in crate::pipeline) fn watched(&self, app: &App) -> Option<Box<Watched>> {
        let guard = Guarded::new(app, self.dialect, &self.asked);
        app.hooks.watch(&self.plan.model, self.scan.stream, guard)
    }

    pub(in crate::pipeline) fn inbound(
        &self,
        kind: Kind,
        watched: Option<Box<Watched>>,
    ) -> Inbound {
        Inbound::new(kind, self.scan.stream, self.dialect, watched)
    }
}

/// Says what of a request did not reach the model.
///
/// # Errors
/// The configuration has such requests refused.
pub(in crate::pipeline) fn tell_dropped(
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
