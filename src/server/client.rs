//! Calling models from the host program: through a loop of the client's own, or through a server's
//! workers.
//!
//! The calling thread waits; deadlines, connections and cancelling are the relay's, as for clients
//! that come over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::core::{Core, DRAINING, NEW, STOPPED};
use super::host::{HostCall, HostSink, Piece};
use super::mailbox::Message;
use super::share::{self, SharedCall};
use super::{LogSink, Server, Setup, on_loop_thread};
use crate::ai::chat::{Collector, Reply as ChatReply, join_text};
use crate::ai::dialect::{Dialect, Meta};
use crate::ai::provider::{StreamDecoder, Wire, codec};
use crate::base::error::{Error, ErrorKind, Failure};
use crate::base::limits;
use crate::cache::flight::Listener;
use crate::config::Config;
use crate::http::sse::SseReader;
use crate::pipeline::{self, Answer, App, Call, Sought};
use crate::sys::{clock, random};

/// Calls models. Any number of threads may call at once.
pub struct Client {
    core: Arc<Core>,
    /// The loop that is the client's own.
    own: Option<Server>,
    calls: Mutex<Vec<Caller>>,
    next_worker: AtomicUsize,
}

/// What a thread of the host waits on.
#[derive(Clone)]
enum Caller {
    /// A call of its own.
    Own(Arc<HostCall>),
    /// An answer that others may share.
    Shared(Arc<SharedCall>),
}

impl Caller {
    fn next(&self) -> Piece {
        match self {
            Caller::Own(call) => call.next(None),
            Caller::Shared(call) => call.next(),
        }
    }

    fn cancel(&self) {
        match self {
            Caller::Own(call) => call.cancel(),
            Caller::Shared(call) => call.cancel(),
        }
    }

    fn is(&self, other: &Caller) -> bool {
        match (self, other) {
            (Caller::Own(a), Caller::Own(b)) => Arc::ptr_eq(a, b),
            (Caller::Shared(a), Caller::Shared(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// How a call of the host goes on.
enum Begun {
    /// The answer was kept.
    Kept(Arc<Answer>),
    /// It comes.
    Waits(Caller),
}

/// A finished answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The text of the first choice.
    pub text: String,
    /// The whole answer as OpenAI's chat completion object.
    pub json: String,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// Why it ended: "stop", "length", "tool_calls", …
    pub finish_reason: String,
    /// Prompt and completion tokens, when the provider told them.
    pub usage: Option<(u64, u64)>,
}

/// One piece of a streamed answer.
#[derive(Clone, Copy, Debug)]
pub struct DeltaView<'a> {
    /// Its text, often empty.
    pub text: &'a str,
    /// The OpenAI chunk it came in.
    pub json: &'a str,
}

impl Client {
    /// A client with a loop of its own, started at once.
    ///
    /// # Errors
    /// As [`Server::new`] and [`Server::start`].
    pub fn new(mut config: Config, log: Option<Arc<dyn LogSink>>) -> Result<Client, Error> {
        config.server.listen.clear();
        config.server.workers = 1;
        let own = Server::new(config, Setup { no_builtins: true, log, ..Setup::default() })?;
        own.start()?;
        Ok(Client {
            core: Arc::clone(&own.core),
            own: Some(own),
            calls: Mutex::default(),
            next_worker: AtomicUsize::new(0),
        })
    }

    /// A client that shares a server's models, connections and limits.
    pub fn of(server: &Server) -> Client {
        Client {
            core: Arc::clone(&server.core),
            own: None,
            calls: Mutex::default(),
            next_worker: AtomicUsize::new(0),
        }
    }

    /// Sends one prompt as a user message. No model: the default.
    ///
    /// # Errors
    /// As [`Client::chat`].
    pub fn prompt(&self, model: Option<&str>, prompt: &str) -> Result<Reply, Error> {
        self.chat(&prompt_json(model, prompt))
    }

    /// Sends an OpenAI chat request and waits for the whole answer.
    ///
    /// # Errors
    /// As the C API's table says: `NotFound`, `InvalidArgument`, `Denied`, `Limit`, `Timeout`,
    /// `Upstream`, `Cancelled`, `Closed`, and `State` on a loop thread.
    pub fn chat(&self, request: &[u8]) -> Result<Reply, Error> {
        let call = match self.begin(request, false)? {
            Begun::Kept(answer) => return kept(&answer),
            Begun::Waits(call) => call,
        };
        let mut body = Vec::new();
        let result = loop {
            match call.next() {
                Piece::Head(_) => {}
                Piece::Bytes(bytes) => {
                    if body.len() + bytes.len() > limits::UPSTREAM_ANSWER_BYTES_MAX {
                        call.cancel();
                        break Err(upstream("the answer is too large"));
                    }
                    body.extend_from_slice(&bytes);
                }
                Piece::End => break read_whole(body),
                Piece::Failed(failure) => break Err(error_of(&failure)),
                Piece::Cancelled => break Err(cancelled()),
            }
        };
        self.end(&call);
        result
    }

    /// Sends an OpenAI chat request and hands each delta to `on_delta` on the calling thread, as it
    /// comes. False from it cancels.
    ///
    /// # Errors
    /// As [`Client::chat`]; `Cancelled` when `on_delta` said so.
    pub fn chat_stream(
        &self,
        request: &[u8],
        on_delta: &mut dyn FnMut(DeltaView<'_>) -> bool,
    ) -> Result<Reply, Error> {
        let call = match self.begin(request, true)? {
            Begun::Kept(answer) => return replay(&answer, on_delta),
            Begun::Waits(call) => call,
        };
        let result = read_stream(&call, on_delta);
        if result.is_err() {
            call.cancel();
        }
        self.end(&call);
        result
    }

    /// Every call in progress returns `Cancelled`. Later calls are not affected.
    pub fn cancel(&self) {
        for call in std::mem::take(&mut *self.calls.lock()) {
            call.cancel();
        }
    }

    /// The models as `GET /v1/models` lists them.
    ///
    /// # Errors
    /// `Closed` when the server has stopped.
    pub fn models_json(&self) -> Result<String, Error> {
        self.check_open()?;
        let app = self.core.app();
        let mut out = Vec::new();
        app.router.encode_models(app.created, |_| true, &mut out);
        Ok(String::from_utf8(out).unwrap_or_default())
    }

    /// What was counted, as `/stats` says it.
    ///
    /// # Errors
    /// `Closed` when the server has stopped.
    pub fn stats_json(&self) -> Result<String, Error> {
        self.check_open()?;
        Ok(self.core.stats_json())
    }

    /// Switches a model on or off.
    ///
    /// # Errors
    /// `NotFound`, `Closed`.
    pub fn set_available(&self, model: &str, is_available: bool) -> Result<(), Error> {
        self.change_router(model, |router| router.set_available(model, is_available))
    }

    /// Makes a model the one that requests without a model get.
    ///
    /// # Errors
    /// `NotFound`, `Closed`.
    pub fn set_default(&self, model: &str) -> Result<(), Error> {
        self.change_router(model, |router| router.set_default(model))
    }

    /// Removes a model and its aliases; calls in progress end as they would have.
    ///
    /// # Errors
    /// `NotFound`, `Closed`.
    pub fn remove(&self, model: &str) -> Result<(), Error> {
        self.change_router(model, |router| router.remove(model))
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.core.state() == STOPPED { Err(closed()) } else { Ok(()) }
    }

    fn change_router(
        &self,
        model: &str,
        change: impl FnOnce(&mut crate::ai::router::Router) -> bool,
    ) -> Result<(), Error> {
        self.check_open()?;
        if self.core.change(|app| change(Arc::make_mut(&mut app.router))) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotFound, format!("there is no model {model}")))
    }

    fn begin(&self, request: &[u8], stream: bool) -> Result<Begun, Error> {
        if on_loop_thread() || self.core.is_polling_thread() {
            let message = "a call that waits is not possible on a loop thread";
            return Err(Error::new(ErrorKind::State, message));
        }
        match self.core.state() {
            NEW => return Err(Error::new(ErrorKind::State, "the server has not been started")),
            DRAINING | STOPPED => return Err(closed()),
            _ => {}
        }
        let app = self.core.app();
        let now_s = u64::try_from(clock::unix_seconds()).unwrap_or(0);
        if let Some(answer) = app.cache.repeated(app.epoch, stream, request, now_s) {
            return Ok(Begun::Kept(answer));
        }
        let id = format!("{:016x}{:016x}", random::number(), random::number());
        let mut call = pipeline::host_call(&app, request, stream, &id).map_err(|f| error_of(&f))?;
        if let Some(want) = call.want.clone() {
            if let Some(answer) = pipeline::hit(&app, &mut call) {
                app.cache.remember(app.epoch, stream, request, &want, now_s);
                return Ok(Begun::Kept(answer));
            }
            return self.begin_shared(&app, call, now_s);
        }
        // Relaxed: any spread will do.
        let turn = self.next_worker.fetch_add(1, Ordering::Relaxed);
        let worker = &self.core.workers[turn % self.core.awake_count()];
        let host = HostCall::new(Arc::clone(&worker.mailbox));
        let caller = Caller::Own(Arc::clone(&host));
        self.calls.lock().push(caller.clone());
        if !worker.mailbox.post(Message::HostStart(Box::new(call), HostSink(host))) {
            self.end(&caller);
            return Err(closed());
        }
        Ok(Begun::Waits(caller))
    }

    /// A call whose answer may be shared: listens to it, and has it made if nobody does.
    fn begin_shared(&self, app: &App, call: Call, now_s: u64) -> Result<Begun, Error> {
        let Some(want) = &call.want else { return Err(closed()) };
        let shared = Arc::new(SharedCall::default());
        let caller = Caller::Shared(Arc::clone(&shared));
        match app.cache.seek(want, Arc::clone(&shared) as Arc<dyn Listener>, now_s) {
            Sought::Answer(answer) => return Ok(Begun::Kept(answer)),
            Sought::Join(place) => shared.sit(place),
            Sought::Lead(flight, place) => {
                shared.sit(place);
                let want = want.clone();
                // Relaxed: any spread will do.
                let turn = self.next_worker.fetch_add(1, Ordering::Relaxed);
                let worker = &self.core.workers[turn % self.core.awake_count()];
                let message = Message::SharedStart(Box::new(call), Arc::clone(&flight));
                if !worker.mailbox.post(message) {
                    share::stopped(&flight);
                    app.cache.land(&want, &flight, None, now_s);
                    return Err(closed());
                }
            }
        }
        self.calls.lock().push(caller.clone());
        Ok(Begun::Waits(caller))
    }

    fn end(&self, call: &Caller) {
        self.calls.lock().retain(|other| !other.is(call));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.cancel();
        if let Some(own) = &self.own {
            own.shutdown();
        }
    }
}

/// A prompt as an OpenAI chat request.
pub fn prompt_json(model: Option<&str>, prompt: &str) -> Vec<u8> {
    let mut json = b"{".to_vec();
    if let Some(model) = model {
        json.extend_from_slice(b"\"model\":");
        crate::json::escape_into(&mut json, model);
        json.push(b',');
    }
    json.extend_from_slice(b"\"messages\":[{\"role\":\"user\",\"content\":");
    crate::json::escape_into(&mut json, prompt);
    json.extend_from_slice(b"}]}");
    json
}

/// A kept answer as the host's reply.
fn kept(answer: &Answer) -> Result<Reply, Error> {
    let garbage = || upstream("the kept answer is not a chat completion");
    let reply = answer.reply().ok_or_else(garbage)?;
    let json = std::str::from_utf8(answer.body()).map_err(|_| garbage())?;
    Ok(summed_up(reply, json.to_owned()))
}

/// A kept stream, delta by delta.
fn replay(
    answer: &Answer,
    on_delta: &mut dyn FnMut(DeltaView<'_>) -> bool,
) -> Result<Reply, Error> {
    let mut stream = Stream::new()?;
    stream.take(answer.body(), on_delta)?;
    if stream.stopped {
        return Err(cancelled());
    }
    stream.finish()
}

fn read_whole(body: Vec<u8>) -> Result<Reply, Error> {
    let garbage = || upstream("the provider's answer is not a chat completion");
    let codec = codec(Wire::OpenAi).ok_or_else(garbage)?;
    let reply = codec.decode_reply(200, &body).map_err(|failure| error_of(&failure))?;
    let json = String::from_utf8(body).map_err(|_| garbage())?;
    Ok(summed_up(&reply, json))
}

fn summed_up(reply: &ChatReply, json: String) -> Reply {
    Reply {
        text: join_text(&reply.parts),
        json,
        model: reply.model.clone().unwrap_or_default(),
        finish_reason: reply.finish.openai().to_owned(),
        usage: reply.usage.as_ref().map(|usage| (usage.prompt_tokens, usage.completion_tokens)),
    }
}

fn read_stream(
    call: &Caller,
    on_delta: &mut dyn FnMut(DeltaView<'_>) -> bool,
) -> Result<Reply, Error> {
    let mut stream = Stream::new()?;
    let mut whole = Vec::new();
    let mut is_stream = true;
    loop {
        match call.next() {
            Piece::Head(events) => is_stream = events,
            Piece::Bytes(bytes) if is_stream => {
                stream.take(&bytes, on_delta)?;
                if stream.stopped {
                    return Err(cancelled());
                }
            }
            // A provider that does not stream: its whole answer is the only delta.
            Piece::Bytes(bytes) => {
                if whole.len() + bytes.len() > limits::UPSTREAM_ANSWER_BYTES_MAX {
                    return Err(upstream("the answer is too large"));
                }
                whole.extend_from_slice(&bytes);
            }
            Piece::End if is_stream => return stream.finish(),
            Piece::End => {
                let reply = read_whole(whole)?;
                if !on_delta(DeltaView { text: &reply.text, json: &reply.json }) {
                    return Err(cancelled());
                }
                return Ok(reply);
            }
            Piece::Failed(failure) => return Err(error_of(&failure)),
            Piece::Cancelled => return Err(cancelled()),
        }
    }
}

/// A stream of chunks on its way to the host: each is handed on and added up.
struct Stream {
    reader: SseReader,
    decoder: Box<dyn StreamDecoder>,
    collector: Collector,
    stopped: bool,
}

impl Stream {
    fn new() -> Result<Stream, Error> {
        let garbage = || upstream("the provider's stream is not valid");
        let codec = codec(Wire::OpenAi).ok_or_else(garbage)?;
        Ok(Stream {
            reader: SseReader::new(limits::UPSTREAM_ANSWER_BYTES_MAX),
            decoder: codec.stream_decoder(),
            collector: Collector::new(),
            stopped: false,
        })
    }

    fn take(
        &mut self,
        bytes: &[u8],
        on_delta: &mut dyn FnMut(DeltaView<'_>) -> bool,
    ) -> Result<(), Error> {
        let collector = &mut self.collector;
        self.decoder
            .feed(bytes, &mut |delta| collector.add(&delta))
            .map_err(|failure| error_of(&failure))?;
        let mut stopped = false;
        let fed = self.reader.feed(bytes, |event| {
            if stopped || event.data.is_empty() || event.data == b"[DONE]" {
                return;
            }
            let Ok(json) = std::str::from_utf8(event.data) else { return };
            let text = crate::json::find_path(event.data, "choices.0.delta.content");
            let text = text.ok().flatten().and_then(|range| event.data.get(range));
            let text = text.and_then(crate::json::string).unwrap_or_default();
            stopped = !on_delta(DeltaView { text: &text, json });
        });
        self.stopped = stopped;
        fed.map_err(|_| upstream("the provider's stream is not valid"))
    }

    fn finish(mut self) -> Result<Reply, Error> {
        let collector = &mut self.collector;
        let ended = self.decoder.finish(&mut |delta| collector.add(&delta));
        match ended {
            Ok(true) => {}
            Ok(false) => return Err(error_of(&pipeline::cut_off())),
            Err(failure) => return Err(error_of(&failure)),
        }
        let reply = self.collector.reply();
        let meta = Meta {
            id: reply.id.clone().unwrap_or_default(),
            model: reply.model.clone().unwrap_or_default(),
            created: crate::sys::clock::unix_seconds(),
            ..Meta::default()
        };
        let mut json = Vec::new();
        Dialect::OpenAiChat.encode_reply(&reply, &meta, &mut json);
        Ok(summed_up(&reply, String::from_utf8(json).unwrap_or_default()))
    }
}

/// What a failed call is to a C caller (API.md, "calls to models").
fn error_of(failure: &Failure) -> Error {
    let kind = match (failure.status, failure.code.as_deref()) {
        (_, Some("stopped")) => ErrorKind::Closed,
        (400 | 411 | 413 | 422, _) => ErrorKind::InvalidArgument,
        (401 | 403, _) => ErrorKind::Denied,
        (404, _) => ErrorKind::NotFound,
        (429, _) | (503, _) => ErrorKind::Limit,
        (501, _) => ErrorKind::Unsupported,
        (504, _) => ErrorKind::Timeout,
        _ => ErrorKind::Upstream,
    };
    Error {
        kind,
        message: failure.message.clone(),
        http: failure.upstream_status.unwrap_or(failure.status),
        retry_after_ms: failure.retry_after_s.map_or(-1, |seconds| i64::from(seconds) * 1_000),
    }
}

fn upstream(message: &'static str) -> Error {
    Error::new(ErrorKind::Upstream, message)
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the call was cancelled")
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the server has stopped")
}
