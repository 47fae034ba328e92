//! One request to a model on its way to a provider and back, without I/O.
//!
//! [`Call`] knows what was asked and which targets remain; each [`Outgoing`] is one attempt. What
//! the upstream sends is read by an `Inbound`.

mod attempt;
mod head;
mod outcome;

use std::sync::Arc;

pub(super) use attempt::tell_dropped;
pub use attempt::{Attempt, Making, Outgoing};
pub(super) use head::is_listed;
pub use outcome::Verdict;

use super::App;
use super::answers::Want;
use super::auth::Charge;
use crate::ai::balance;
use crate::ai::chat::{self, Usage};
use crate::ai::dialect::{Dialect, Meta};
use crate::ai::price::Prices;
use crate::ai::router::{HashOn, Picked, Plan, RouteTarget};
use crate::ai::scan::{self, Scan};
use crate::base::error::Failure;
use crate::exchange::{Request, Ticket, Trace};
use crate::http::trace_context::{SpanId, TraceContext, TraceId};

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

    /// The target that is asked now.
    fn target(&self) -> Option<&RouteTarget> {
        self.current.and_then(|picked| self.plan.route.targets.get(picked.index))
    }
}
