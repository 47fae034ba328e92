//! One request to a model on its way to a provider and back, without I/O.
//!
//! [`Call`] knows what was asked and which targets remain; each [`Outgoing`] is one attempt. What
//! the upstream sends is read by an [`Inbound`].

use std::sync::Arc;

use super::answers::Want;
use super::auth::Charge;
use super::generation::{Generator, Question};
use super::hooks::Watched;
use super::inbound::{Inbound, Kind};
use super::provider::Provider;
use super::text_guard::Guarded;
use super::{App, Pull};
use crate::ai::balance;
use crate::ai::chat::{self, Usage};
use crate::ai::dialect::{Dialect, Meta};
use crate::ai::health::Trouble;
use crate::ai::price::Prices;
use crate::ai::provider::{Codec, EncodedRequest, codec};
use crate::ai::retry::{self, Budget, Where};
use crate::ai::router::{HashOn, Picked, Plan, Route, RouteTarget};
use crate::ai::scan::{self, Scan};
use crate::base::error::Failure;
use crate::exchange::{Request, Response, Ticket, Trace};
use crate::http::encode;
use crate::http::head::Known;
use crate::http::trace_context::{self, SpanId, TraceContext, TraceId};

/// The bytes a request came in.
#[derive(Clone)]
pub enum Asked {
    /// An HTTP request.
    Request(Arc<Request>),
    /// An HTTP request whose body hooks or the guard have edited.
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

    /// The same with another body.
    pub(super) fn edited(&self, body: Arc<[u8]>) -> Asked {
        match self {
            Asked::Request(request) | Asked::Edited(request, _) => {
                Asked::Edited(Arc::clone(request), body)
            }
            Asked::Bytes { id, .. } => Asked::Bytes { body, id: Arc::clone(id) },
        }
    }

    /// What the log calls it.
    pub(super) fn id(&self) -> &str {
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
    /// Memory for the head that goes out.
    head: Vec<u8>,
    /// What it wants of the cache.
    pub want: Option<Want>,
    /// The tokens it has taken of its key's limit.
    pub charge: Option<Charge>,
    /// The client whose request it is, when others may share the answer: what it came to is told
    /// of that request.
    pub asker: Option<Ticket>,
    /// The trace it belongs to.
    trace: Option<CallTrace>,
    /// The step of the trace that the current attempt is.
    span_id: SpanId,
    /// Targets that cannot serve it, a bit for each.
    unfit: u64,
    /// What the strategy goes by, when it goes by the request.
    hashed: Option<u64>,
    /// The target that is asked now.
    current: Option<Picked>,
    /// The one to ask next.
    next: Option<Picked>,
    /// Targets that were asked, a bit for each.
    tried: u64,
    /// What the one before has failed by, when another is asked for it.
    failed_by: Option<Box<Failure>>,
    /// How many times one was asked, and how many times one that had been asked before.
    tries: u32,
    repeats: u32,
}

/// The trace that a call belongs to.
#[derive(Clone, Copy, Debug)]
struct CallTrace {
    id: TraceId,
    /// The step that it is part of.
    parent: Option<SpanId>,
    is_sampled: bool,
}

/// An attempt as a trace shows it.
pub struct Traced<'c> {
    /// What is done, as the conventions for generative models name it.
    pub operation: &'static str,
    /// The index among the snapshot's providers.
    pub provider: usize,
    /// The model's name in the configuration.
    pub route: &'c str,
    /// The provider's name of it.
    pub model: &'c str,
    /// The attempt, and the step that it is part of.
    pub context: TraceContext,
    /// The step that it is part of.
    pub parent: Option<SpanId>,
}

/// What the moment adds to a decision: pure layers have neither clock nor chance.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic, in milliseconds.
    pub now_ms: u64,
    /// Wall time, Unix seconds.
    pub second: i64,
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
            // It has answered well; a hook or the guard refused what it said.
            _ if failure.code.as_deref() == Some("content_refused") => Verdict::Good,
            _ if failure.status == 503 && failure.upstream_status.is_none() => Verdict::Unknown,
            _ => Verdict::Bad(Trouble::Answer),
        }
    }
}

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
    /// A call for `asked`, whose targets stand in `plan`.
    pub fn new(asked: Asked, dialect: Dialect, scan: Scan, plan: Plan) -> Call {
        let hashed = match plan.hash_on() {
            None => None,
            Some(HashOn::User) => match &scan.user {
                Some(user) => Some(balance::hash(user.as_bytes())),
                None => scan::user_elsewhere(asked.body()).map(|user| balance::hash(&user)),
            },
            Some(HashOn::Header(name)) => asked.request().and_then(|request| {
                let mut value = Vec::new();
                request.header(name.as_bytes(), &mut value).then(|| balance::hash(&value))
            }),
        };
        Call {
            asked,
            dialect,
            scan,
            plan,
            created: 0,
            head: Vec::new(),
            want: None,
            charge: None,
            asker: None,
            trace: None,
            span_id: [0; 8],
            unfit: 0,
            hashed,
            current: None,
            next: None,
            tried: 0,
            failed_by: None,
            tries: 0,
            repeats: 0,
        }
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
        let model = self.plan.model.clone();
        Meta { id: text, model, created: self.created, ..Meta::default() }
    }

    /// The same of an answer that is encoded for the client, which asked `request`.
    pub(super) fn meta_for(&self, request: chat::Request) -> Meta {
        let chat::Request { custom_tools, namespaced, .. } = request;
        Meta { custom_tools, namespaced, ..self.meta() }
    }

    /// The same of a kept answer in another form.
    pub(super) fn meta_for_kept(&self) -> Meta {
        match self.dialect.decode_request(self.body()) {
            Ok(request) => self.meta_for(request),
            Err(_) => self.meta(),
        }
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
            self.asked = self.asked.edited(body.into());
        }
        Ok(())
    }

    /// What is asked, JSON.
    pub fn body(&self) -> &[u8] {
        self.asked.body()
    }

    /// Names the targets that cannot serve it, a bit for each.
    pub(super) fn leave_out(&mut self, unfit: u64) {
        self.unfit = unfit;
    }

    /// What an attempt's answer took: its key has used as much.
    pub fn settle(&mut self, usage: &Usage, now_us: u64) {
        if let Some(charge) = &mut self.charge {
            charge.settle(usage.total_tokens(), now_us);
        }
    }

    /// Whether its answer is written by a model, and in no other way: tokens are used.
    pub fn takes_tokens(&self) -> bool {
        self.dialect != Dialect::AnthropicCountTokens
    }

    /// Whether an answer has tokens that a model writes.
    pub fn is_written(&self) -> bool {
        self.dialect != Dialect::OpenAiEmbeddings
    }

    /// What the tokens of the target that is asked now cost.
    pub fn prices(&self) -> Prices {
        self.target().map(|target| target.prices).unwrap_or_default()
    }

    /// The same request as a second attempt beside the current one: on another target if one may be
    /// asked, else on the same one.
    pub fn twin(&self, moment: Moment) -> Option<Call> {
        let Moment { now_ms, random, .. } = moment;
        let current = self.current?;
        let taken = self.tried | self.unfit;
        let other = self.plan.pick(taken, false, now_ms, random, self.hashed);
        let next = other.or_else(|| {
            let target = self.plan.route.targets.get(current.index)?;
            let is_well = !target.link.is_broken() && !target.state.health.is_broken();
            is_well.then_some(Picked { index: current.index, is_probe: false })
        })?;
        Some(Call {
            asked: self.asked.clone(),
            dialect: self.dialect,
            scan: self.scan.clone(),
            plan: self.plan.clone(),
            created: self.created,
            head: Vec::new(),
            want: self.want.clone(),
            charge: None,
            asker: self.asker,
            trace: self.trace,
            span_id: self.span_id,
            unfit: self.unfit,
            hashed: self.hashed,
            current: None,
            next: Some(next),
            tried: self.tried,
            failed_by: None,
            tries: self.tries,
            repeats: self.repeats,
        })
    }

    /// It is part of answering a request at this place of a trace.
    pub(super) fn belong(&mut self, trace: Option<&Trace>) {
        self.trace = trace.map(|Trace { context, .. }| CallTrace {
            id: context.trace_id,
            parent: Some(context.span_id),
            is_sampled: context.is_sampled,
        });
    }

    /// A trace begins with it, unless it belongs to one.
    pub fn begin_trace(&mut self, begin: impl FnOnce() -> Trace) {
        self.trace.get_or_insert_with(|| {
            let Trace { context, parent, .. } = begin();
            CallTrace { id: context.trace_id, parent, is_sampled: context.is_sampled }
        });
    }

    /// The current attempt, when it is told to a collector.
    pub fn traced(&self) -> Option<Traced<'_>> {
        let (trace, target) = (self.trace?, self.target()?);
        let operation = match self.dialect {
            Dialect::OpenAiChat
            | Dialect::OpenAiResponses
            | Dialect::AnthropicMessages
            | Dialect::NativeChat
            | Dialect::OldChat => "chat",
            Dialect::OpenAiCompletions => "text_completion",
            Dialect::OpenAiEmbeddings => "embeddings",
            Dialect::AnthropicCountTokens => return None,
        };
        Some(Traced {
            operation,
            provider: target.provider,
            route: &self.plan.route.name,
            model: self.plan.upstream_model(target),
            context: self.context(trace),
            parent: trace.parent,
        })
    }

    fn context(&self, trace: CallTrace) -> TraceContext {
        let CallTrace { id, is_sampled, .. } = trace;
        TraceContext { trace_id: id, span_id: self.span_id, is_sampled }
    }

    /// Which model is asked, among all that is counted.
    pub fn number(&self) -> usize {
        self.plan.route.number
    }

    /// Its answer is made at this second, as far as we make it.
    pub(super) fn date(&mut self, second: i64) {
        self.created = second;
    }

    /// The model's name as the client is told it.
    pub fn model(&self) -> &str {
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

    /// Whether another target could be asked now.
    pub fn has_other(&self, now_ms: u64) -> bool {
        self.plan.has_open(self.tried | self.unfit, now_ms)
    }

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

    /// The target that is asked now.
    fn target(&self) -> Option<&RouteTarget> {
        self.current.and_then(|picked| self.plan.route.targets.get(picked.index))
    }

    /// The first token of the current attempt came after so long.
    pub fn measured(&self, took_us: u64, now_ms: u64) {
        let Some(target) = self.target() else { return };
        if self.plan.reads_load() {
            target.state.load.measured(took_us, now_ms);
        } else if self.plan.route.weighs() {
            target.state.load.answered(took_us);
        }
    }

    /// What it leads to, when that is weighed.
    pub fn weighed(&self) -> Option<&Arc<Route>> {
        Some(&self.plan.route).filter(|route| route.weighs())
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
        let Moment { now_ms, random, .. } = moment;
        let breaker = &app.settings.breaker;
        if verdict == Verdict::Good {
            self.is_good();
        }
        let Some(target) = self.target() else { return false };
        if !matches!(verdict, Verdict::Good | Verdict::Unknown) && self.plan.route.weighs() {
            target.state.load.failed();
        }
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
        let Moment { now_ms, random, .. } = moment;
        let rule = &app.settings.retry;
        let place = retry::place(failure);
        if place == Where::Nowhere || self.tries > rule.attempts {
            return None;
        }
        if let Some(other) =
            self.plan.pick(self.tried | self.unfit, false, now_ms, random, self.hashed)
        {
            // Leaving a target that is taken out makes no storm: nobody goes there any more.
            if was_opened || budget.spend(now_ms) {
                self.failed_by = Some(Box::new(failure.clone()));
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
        let again = self.plan.pick(!self.tried | self.unfit, false, now_ms, random, self.hashed);
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

    /// What sees the answer besides the client.
    pub(super) fn watched(&self, app: &App) -> Option<Box<Watched>> {
        let guard = Guarded::new(app, self.dialect, &self.asked);
        app.hooks.watch(&self.plan.model, self.scan.stream, guard)
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
        if let Some(trace) = self.trace {
            let mut value = Vec::new();
            self.context(trace).write(&mut value);
            encode::field(head, b"traceparent", &value);
            // Of a trace that begins here there is no state, whatever the client says.
            let request = self
                .asked
                .request()
                .filter(|request| request.trace().is_some_and(|trace| trace.parent.is_some()));
            let state = request
                .and_then(|request| trace_context::state(request.header_values(b"tracestate")));
            if let Some(state) = state {
                encode::field(head, b"tracestate", &state);
            }
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
fn forward_fields(request: &Request, is_traced: bool, head: &mut Vec<u8>) {
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
        let is_trace =
            name.eq_ignore_ascii_case(b"traceparent") || name.eq_ignore_ascii_case(b"tracestate");
        if is_ours || is_trace && is_traced || is_private(name) || is_listed(connection, name) {
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
