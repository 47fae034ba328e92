//! Answers of models that are kept, shared while they are made, and given again.
//!
//! A request that may be answered from the cache has a [`Want`]: the digest of its tenant and of
//! its canonical text ([`crate::ai::canonical`]). The tenant is the key the request came with, so
//! no answer crosses keys. The same request in another form (stream or whole, another dialect) is
//! served by putting a kept answer into that form. Only complete, successful answers are kept.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::ai::chat;
use crate::ai::dialect::{Dialect, Meta};
use crate::ai::provider::{Wire, codec};
use crate::base::error::Failure;
use crate::base::limits;
use crate::cache::flight::{Bounds, Duty, Flight, Listener, Place};
use crate::cache::store::{Key, Store};
use crate::config::{CacheWhen, Config};
use crate::exchange::{Response, Taken};
use crate::pipeline::Pull;

/// A digest of whoever asks: of the key, or zeros where there are none.
pub type Tenant = [u8; 32];

/// What an answer begins with, on its way to those who share it.
pub struct Begin {
    /// Status and headers.
    pub response: Response,
    /// Bytes of the body, when they are known before it.
    pub length: Option<u64>,
    /// The body is sent when it is complete.
    pub is_whole: bool,
}

/// Why there is no answer, with what the upstream said of it.
pub struct Refusal {
    /// What happened.
    pub failure: Failure,
    /// The upstream's own words, when they pass.
    pub response: Response,
}

/// An answer in the making, shared by all who ask for it.
pub type AnswerFlight = Flight<Arc<Begin>, Arc<Refusal>>;
/// The duty to make it.
pub type AnswerDuty = Duty<Arc<Begin>, Arc<Refusal>>;
/// A listener's place at it.
pub type AnswerPlace = Place<Arc<Begin>, Arc<Refusal>>;

/// A kept answer.
pub struct Answer {
    dialect: Dialect,
    is_stream: bool,
    /// Of its response: what is said again.
    content_type: Box<[u8]>,
    provider: Box<[u8]>,
    model: Box<[u8]>,
    dropped: Option<Box<[u8]>>,
    body: Arc<[u8]>,
    reply: OnceLock<Option<Arc<chat::Reply>>>,
}

impl Answer {
    /// Its body.
    pub fn body(&self) -> &Arc<[u8]> {
        &self.body
    }

    /// Whether it is a stream of events.
    pub fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Fills a response with its head; of a whole answer with its body too.
    pub fn fill(&self, response: &mut Response, mark: &[u8]) {
        response.clear();
        response.status = 200;
        let headers = &mut response.headers;
        headers.push(b"x-neurohttp-cache", mark);
        headers.push(b"x-neurohttp-provider", &self.provider);
        headers.push(b"x-neurohttp-model", &self.model);
        if let Some(dropped) = &self.dropped {
            headers.push(b"x-neurohttp-dropped", dropped);
        }
        headers.push(b"Content-Type", &self.content_type);
        if self.is_stream {
            headers.push(b"Cache-Control", b"no-cache");
            headers.push(b"X-Accel-Buffering", b"no");
        } else {
            response.body.extend_from_slice(&self.body);
        }
    }

    /// What it says, as far as its dialect can be read: looked up once.
    pub fn reply(&self) -> Option<&Arc<chat::Reply>> {
        self.reply.get_or_init(|| self.read().map(Arc::new)).as_ref()
    }

    fn read(&self) -> Option<chat::Reply> {
        let wire = match self.dialect {
            Dialect::OpenAiChat => Wire::OpenAi,
            Dialect::AnthropicMessages => Wire::Anthropic,
            _ => return None,
        };
        let codec = codec(wire)?;
        if !self.is_stream {
            return codec.decode_reply(200, &self.body).ok();
        }
        let mut collector = chat::Collector::new();
        let mut decoder = codec.stream_decoder();
        decoder.feed(&self.body, &mut |delta| collector.add(&delta)).ok()?;
        let is_whole = decoder.finish(&mut |delta| collector.add(&delta)).ok()?;
        is_whole.then(|| collector.reply())
    }

    /// The same answer in another form.
    fn recast(&self, want: &Want, meta: &Meta) -> Option<Answer> {
        let reply = self.reply()?;
        let mut body = Vec::new();
        if want.is_stream {
            let mut encoder = want.dialect.stream_encoder(meta.clone(), want.include_usage);
            for delta in deltas(reply) {
                encoder.event(&delta, &mut body);
            }
            encoder.finish(&mut body);
        } else {
            want.dialect.encode_reply(reply, meta, &mut body);
        }
        let content_type: &[u8] =
            if want.is_stream { b"text/event-stream" } else { b"application/json" };
        Some(Answer {
            dialect: want.dialect,
            is_stream: want.is_stream,
            content_type: content_type.into(),
            provider: self.provider.clone(),
            model: meta.model.as_bytes().into(),
            dropped: None,
            body: body.into(),
            reply: OnceLock::new(),
        })
    }

    fn bytes(&self) -> usize {
        self.body.len() + self.provider.len() + self.model.len() + limits::KEPT_OVERHEAD_BYTES
    }
}

/// A whole reply as the deltas of a stream.
fn deltas(reply: &chat::Reply) -> Vec<chat::Delta> {
    use chat::{Delta, Part};
    let mut deltas = vec![Delta::Start { id: reply.id.clone(), model: reply.model.clone() }];
    let mut calls = 0;
    for part in &reply.parts {
        match part {
            Part::Text(text) => deltas.push(Delta::Text(text.clone())),
            Part::Refusal(text) => deltas.push(Delta::Refusal(text.clone())),
            Part::Thinking { text, signature } => {
                deltas.push(Delta::Thinking(text.clone()));
                deltas.extend(signature.clone().map(Delta::Signature));
            }
            Part::RedactedThinking(data) => deltas.push(Delta::RedactedThinking(data.clone())),
            Part::ToolCall(call) => {
                deltas.push(Delta::ToolCallStart {
                    index: calls,
                    id: call.id.clone(),
                    name: call.name.clone(),
                    signature: call.signature.clone(),
                });
                deltas
                    .push(Delta::ToolCallArguments { index: calls, json: call.arguments.clone() });
                calls += 1;
            }
            _ => {}
        }
    }
    deltas.push(Delta::Finish(reply.finish.clone()));
    deltas.extend(reply.usage.map(Delta::Usage));
    deltas
}

/// A kept stream on its way out.
pub struct Replay {
    answer: Arc<Answer>,
    at: usize,
}

impl Replay {
    /// From its beginning.
    pub fn new(answer: Arc<Answer>) -> Replay {
        Replay { answer, at: 0 }
    }
}

impl Pull for Replay {
    fn pull(&mut self, out: &mut Vec<u8>, bytes_wanted: usize) -> Taken {
        let rest = self.answer.body.get(self.at..).unwrap_or_default();
        let piece = rest.get(..bytes_wanted).unwrap_or(rest);
        out.extend_from_slice(piece);
        self.at += piece.len();
        if self.at >= self.answer.body.len() { Taken::End } else { Taken::More }
    }
}

/// What a request may do with the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Read and keep.
    Full,
    /// Keep only: the client wants a fresh answer.
    Refresh,
}

/// What a request wants of the cache.
#[derive(Clone, Debug)]
pub struct Want {
    /// The request's digest, whatever form its answer has.
    base: Key,
    /// The same with the form.
    key: Key,
    dialect: Dialect,
    is_stream: bool,
    include_usage: bool,
    /// Whether a kept answer may be given.
    pub usage: Use,
}

/// What stands under a key.
#[derive(Clone)]
pub enum Kept {
    /// An answer of a model.
    Answer(Arc<Answer>),
    /// The bytes of a call of the host program, and the answer they lead to.
    Alias(Arc<[u8]>, Key),
    /// An entry of the host program.
    Bytes(Arc<[u8]>),
    /// An answer of a route of the host program.
    Page(Arc<super::pages::Page>),
}

/// How a request goes on.
pub enum Found {
    /// There is an answer.
    Answer(Arc<Answer>),
    /// Somebody makes it: listen.
    Join(AnswerPlace),
    /// Make it, and listen.
    Lead(AnswerDuty, AnswerPlace),
}

/// The cache of one server or client.
pub struct Cache {
    pub(super) shared: Arc<Shared>,
    /// Answers of other models than these are not found.
    generation: u64,
    is_on: bool,
    when: CacheWhen,
    ttl_s: u64,
}

/// What lasts of a cache while its configuration changes.
pub(super) struct Shared {
    pub(super) store: Store<Kept>,
    /// An answer of a route of the host has been kept: before that none can be removed.
    pub(super) has_pages: AtomicBool,
    flights: Mutex<HashMap<Key, Arc<AnswerFlight>>>,
    /// The last requests of clients byte for byte, and the keys of the answers they led to.
    spellings: Box<[Mutex<Option<Spelt>>]>,
    /// For digests of requests byte for byte: never told, so nobody can aim at a collision.
    salts: [RandomState; 2],
    hits: AtomicU64,
    misses: AtomicU64,
    coalesced: AtomicU64,
}

/// A remembered spelling and what it asks for.
type Spelt = (Box<[u8]>, Key);

/// A request byte for byte, as far as its answer depends on it: who repeats one needs no reading.
pub struct Spelling {
    /// Who asks in which state of the models, in which dialect and with which switches.
    head: Vec<u8>,
    /// Where it is remembered.
    slot: usize,
}

impl Want {
    /// Whether a kept answer may be given.
    pub fn reads(&self) -> bool {
        self.usage == Use::Full
    }
}

impl Cache {
    /// The cache a configuration asks for.
    pub fn new(config: &Config) -> Cache {
        let (entries_max, bytes_max) = bounds(config);
        let shared = Shared {
            store: Store::new(entries_max, bytes_max),
            has_pages: AtomicBool::new(false),
            flights: Mutex::default(),
            spellings: (0..limits::SPELLINGS).map(|_| Mutex::default()).collect(),
            salts: [RandomState::new(), RandomState::new()],
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            coalesced: AtomicU64::new(0),
        };
        Cache::of(config, Arc::new(shared), 0)
    }

    /// The cache of another configuration with what this one keeps. With `models_changed` answers of
    /// models are not given again; entries and pages of the host program are.
    /// Its bounds follow with [`Cache::resize`].
    pub fn renewed(&self, config: &Config, models_changed: bool) -> Cache {
        let generation = self.generation + u64::from(models_changed);
        Cache::of(config, Arc::clone(&self.shared), generation)
    }

    /// Takes up the bounds of a configuration.
    pub fn resize(&self, config: &Config, now_s: u64) {
        let (entries_max, bytes_max) = bounds(config);
        self.shared.store.resize(entries_max, bytes_max, now_s);
    }

    /// Takes up the bounds of a configuration, but keeps no more than so many bytes.
    pub fn reduce(&self, config: &Config, bytes_max: u64, now_s: u64) {
        let (entries_max, configured) = bounds(config);
        let bytes_max = usize::try_from(bytes_max).map_or(configured, |it| it.min(configured));
        self.shared.store.resize(entries_max, bytes_max, now_s);
        self.forget_spellings();
    }

    fn forget_spellings(&self) {
        for slot in &self.shared.spellings {
            let before = slot.lock().take();
            drop(before);
        }
    }

    fn of(config: &Config, shared: Arc<Shared>, generation: u64) -> Cache {
        let cache = &config.cache;
        Cache {
            shared,
            generation,
            is_on: cache.enable,
            when: cache.when,
            ttl_s: u64::from(cache.ttl),
        }
    }

    /// Whether answers of models are kept at all.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether requests of this kind have answers that may be kept.
    pub fn is_for(&self, dialect: Dialect, temperature: Option<f64>, seeded: bool) -> bool {
        if !self.is_on || dialect == Dialect::AnthropicCountTokens {
            return false;
        }
        let is_deterministic = match temperature {
            Some(temperature) => temperature == 0.0,
            None => matches!(dialect, Dialect::NativeChat | Dialect::OpenAiEmbeddings),
        };
        self.when == CacheWhen::Always || is_deterministic || seeded
    }

    /// What a request wants.
    pub fn want(
        &self,
        tenant: &Tenant,
        canonical: &[u8],
        (dialect, is_stream, include_usage): (Dialect, bool, bool),
        usage: Use,
    ) -> Want {
        let mut digest = Sha256::new();
        digest.update(b"answer\0");
        digest.update(self.generation.to_le_bytes());
        digest.update(tenant);
        digest.update(canonical);
        let base: Key = digest.finalize().into();
        let include_usage = include_usage && is_stream;
        let key = form(base, dialect, is_stream, include_usage);
        Want { base, key, dialect, is_stream, include_usage, usage }
    }

    /// A kept answer, put into the wanted form if need be. `meta` names the answer then.
    pub fn find(&self, want: &Want, meta: impl Fn() -> Meta, now_s: u64) -> Option<Arc<Answer>> {
        let found = self.look_up(want, meta, now_s);
        if found.is_some() {
            // Relaxed, here and below: figures for people.
            self.shared.hits.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    fn look_up(&self, want: &Want, meta: impl Fn() -> Meta, now_s: u64) -> Option<Arc<Answer>> {
        if want.usage != Use::Full {
            return None;
        }
        if let Some(answer) = self.answer(&want.key, now_s) {
            return Some(answer);
        }
        for (dialect, is_stream, include_usage) in [
            (Dialect::OpenAiChat, false, false),
            (Dialect::OpenAiChat, true, false),
            (Dialect::OpenAiChat, true, true),
            (Dialect::AnthropicMessages, false, false),
            (Dialect::AnthropicMessages, true, false),
        ] {
            let key = form(want.base, dialect, is_stream, include_usage);
            if key == want.key || want.dialect == Dialect::OpenAiEmbeddings {
                continue;
            }
            let other = self.answer(&key, now_s);
            // Where usage is asked for it must be there.
            let answer = other.and_then(|other| {
                let needs_usage = !want.is_stream || want.include_usage || want.dialect != dialect;
                let has_usage = other.reply().is_some_and(|reply| reply.usage.is_some());
                (has_usage || !needs_usage).then(|| other.recast(want, &meta())).flatten()
            });
            if let Some(answer) = answer {
                let answer = Arc::new(answer);
                self.keep(&want.key, Arc::clone(&answer), now_s);
                return Some(answer);
            }
        }
        None
    }

    fn answer(&self, key: &Key, now_s: u64) -> Option<Arc<Answer>> {
        match self.shared.store.get(key, now_s) {
            Some(Kept::Answer(answer)) => Some(answer),
            _ => None,
        }
    }

    fn keep(&self, key: &Key, answer: Arc<Answer>, now_s: u64) {
        let bytes = answer.bytes();
        self.shared.store.put(key, Kept::Answer(answer), bytes, self.ttl_s, now_s);
    }

    /// Looks for an answer, one in the making, or makes the caller the one who makes it. In this
    /// order under one lock, so that identical requests cause one call.
    pub fn seek(&self, want: &Want, listener: Arc<dyn Listener>, now_s: u64) -> Found {
        let lead = |listener| {
            let duty = AnswerDuty::new(Bounds {
                log_max: self.shared.store.value_bytes_max().min(limits::FLIGHT_BYTES_MAX),
                lead_max: limits::RELAY_HIGH_BYTES,
            });
            let place = duty.join(listener);
            (duty, place)
        };
        if want.usage == Use::Refresh {
            if let (duty, Some(place)) = lead(listener) {
                return Found::Lead(duty, place);
            }
            unreachable!("a new flight can be joined");
        }
        let mut flights = self.shared.flights.lock();
        if let Some(flight) = flights.get(&want.key)
            && let Some(place) = flight.join(Arc::clone(&listener))
        {
            self.shared.coalesced.fetch_add(1, Ordering::Relaxed);
            return Found::Join(place);
        }
        if let Some(answer) = self.answer(&want.key, now_s) {
            self.shared.hits.fetch_add(1, Ordering::Relaxed);
            return Found::Answer(answer);
        }
        self.shared.misses.fetch_add(1, Ordering::Relaxed);
        let (duty, Some(place)) = lead(listener) else {
            unreachable!("a new flight can be joined");
        };
        flights.insert(want.key, Arc::clone(&duty));
        Found::Lead(duty, place)
    }

    /// A flight has ended; a complete answer that is fit is kept first.
    pub fn land(
        &self,
        want: &Want,
        flight: &Arc<AnswerFlight>,
        whole: Option<(&Begin, &[u8])>,
        now_s: u64,
    ) {
        if let Some((begin, body)) = whole
            && let Some(answer) = fit(want, begin, body)
        {
            self.keep(&want.key, Arc::new(answer), now_s);
        }
        let mut flights = self.shared.flights.lock();
        if flights.get(&want.key).is_some_and(|other| Arc::ptr_eq(other, flight)) {
            flights.remove(&want.key);
        }
    }

    // ---- requests whose bytes repeat ----

    /// How a client's request is spelt, in this state of the models. None: it is too long to be
    /// remembered.
    pub fn spelling(
        &self,
        epoch: u64,
        tenant: &Tenant,
        dialect: Dialect,
        switches: &[u8],
        body: &[u8],
    ) -> Option<Spelling> {
        if body.len() + switches.len() > limits::SPELLING_BYTES_MAX {
            return None;
        }
        let mut head = Vec::with_capacity(tenant.len() + 9 + switches.len());
        head.extend_from_slice(&epoch.to_le_bytes());
        head.extend_from_slice(tenant);
        head.push(dialect as u8);
        head.extend_from_slice(switches);
        let [salt, _] = &self.shared.salts;
        let slot = salt.hash_one((&head, body)) % limits::SPELLINGS as u64;
        Some(Spelling { head, slot: slot as usize })
    }

    /// What a request wants that was spelt alike before, byte for byte.
    pub fn spelt(
        &self,
        spelling: &Spelling,
        body: &[u8],
        (dialect, is_stream, include_usage): (Dialect, bool, bool),
    ) -> Option<Want> {
        let slot = self.shared.spellings.get(spelling.slot)?.lock();
        let (same, key) = slot.as_ref()?;
        let is_same = same.len() == spelling.head.len() + body.len()
            && same.starts_with(&spelling.head)
            && same.ends_with(body);
        let key = *key;
        drop(slot);
        let include_usage = include_usage && is_stream;
        // The base is told from the key by its last byte alone, which every form replaces.
        let want = Want { base: key, key, dialect, is_stream, include_usage, usage: Use::Full };
        is_same.then_some(want)
    }

    /// This spelling led to the answer of `want`. It takes the place of another one.
    pub fn remember_spelling(&self, spelling: &Spelling, body: &[u8], want: &Want) {
        if let Some(slot) = self.shared.spellings.get(spelling.slot) {
            let whole = [&spelling.head, body].concat().into();
            let before = slot.lock().replace((whole, want.key));
            drop(before);
        }
    }

    fn alias(&self, epoch: u64, stream: bool, body: &[u8]) -> Key {
        let mut key = [0; 32];
        for (half, salt) in key.chunks_mut(8).zip(&self.shared.salts) {
            half.copy_from_slice(&salt.hash_one((epoch, stream, body)).to_le_bytes());
        }
        key
    }

    /// The answer that these bytes led to before, in this state of the models.
    pub fn repeated(
        &self,
        epoch: u64,
        stream: bool,
        body: &[u8],
        now_s: u64,
    ) -> Option<Arc<Answer>> {
        if !self.is_on {
            return None;
        }
        match self.shared.store.get(&self.alias(epoch, stream, body), now_s) {
            Some(Kept::Alias(same, key)) if *same == *body => {
                let found = self.answer(&key, now_s)?;
                self.shared.hits.fetch_add(1, Ordering::Relaxed);
                Some(found)
            }
            _ => None,
        }
    }

    /// These bytes led to the answer of `want`.
    pub fn remember(&self, epoch: u64, stream: bool, body: &[u8], want: &Want, now_s: u64) {
        if want.usage == Use::Full && body.len() <= limits::ALIAS_BYTES_MAX {
            let bytes = body.len() + limits::KEPT_OVERHEAD_BYTES;
            let kept = Kept::Alias(body.into(), want.key);
            self.shared.store.put(&self.alias(epoch, stream, body), kept, bytes, self.ttl_s, now_s);
        }
    }

    // ---- entries of the host program ----

    /// Keeps an entry of the host's. False when it is too large.
    pub fn put_entry(&self, name: &[u8], value: &[u8], ttl_s: Option<u64>, now_s: u64) -> bool {
        let bytes = name.len() + value.len() + limits::KEPT_OVERHEAD_BYTES;
        let ttl_s = ttl_s.unwrap_or(self.ttl_s);
        self.shared.store.put(&entry(name), Kept::Bytes(value.into()), bytes, ttl_s, now_s)
    }

    /// An entry of the host's.
    pub fn entry(&self, name: &[u8], now_s: u64) -> Option<Arc<[u8]>> {
        match self.shared.store.get(&entry(name), now_s) {
            Some(Kept::Bytes(value)) => Some(value),
            _ => None,
        }
    }

    /// Removes an entry of the host's; whether it was there.
    pub fn delete_entry(&self, name: &[u8]) -> bool {
        self.shared.store.delete(&entry(name))
    }

    /// Removes everything that is kept.
    pub fn clear(&self) {
        self.shared.store.clear();
        self.forget_spellings();
    }

    /// Seconds that answers are kept.
    pub(super) fn ttl_s(&self) -> u64 {
        self.ttl_s
    }

    /// What `/stats` says of it.
    pub fn stats(&self) -> serde_json::Value {
        let figures = self.shared.store.figures();
        serde_json::json!({
            "entries": figures.entries,
            "bytes": figures.bytes,
            "evicted": figures.evicted,
            "hits": self.shared.hits.load(Ordering::Relaxed),
            "misses": self.shared.misses.load(Ordering::Relaxed),
            "coalesced": self.shared.coalesced.load(Ordering::Relaxed),
        })
    }
}

/// Entries and bytes.
fn bounds(config: &Config) -> (usize, usize) {
    let bytes_max = usize::try_from(config.cache.max_bytes).unwrap_or(usize::MAX);
    (config.cache.max_entries as usize, bytes_max)
}

fn entry(name: &[u8]) -> Key {
    let mut digest = Sha256::new();
    digest.update(b"entry\0");
    digest.update(name);
    digest.finalize().into()
}

/// The key of a form. The digest is changed in its last byte only: four forms of one request do not
/// meet another's.
fn form(mut base: Key, dialect: Dialect, is_stream: bool, include_usage: bool) -> Key {
    if let Some(last) = base.last_mut() {
        *last = dialect as u8 | u8::from(is_stream) << 6 | u8::from(include_usage) << 7;
    }
    base
}

/// The answer to keep: a complete success that nobody has forbidden to keep.
fn fit(want: &Want, begin: &Begin, body: &[u8]) -> Option<Answer> {
    let headers = &begin.response.headers;
    let content_type = headers.get(b"content-type")?;
    let is_stream = content_type.starts_with(b"text/event-stream");
    let control = headers.get(b"cache-control").unwrap_or_default().to_ascii_lowercase();
    let forbidden = memchr::memmem::find(&control, b"no-store").is_some();
    if begin.response.status != 200 || forbidden || is_stream != want.is_stream {
        return None;
    }
    let is_complete = if is_stream {
        let mark: &[u8] = match want.dialect {
            Dialect::AnthropicMessages => b"message_stop",
            Dialect::OpenAiResponses => b"response.completed",
            _ => b"[DONE]",
        };
        let tail = &body[body.len().saturating_sub(limits::HELD_EVENT_BYTES_MAX)..];
        memchr::memmem::rfind(tail, mark).is_some()
            && memchr::memmem::find(body, b"\ndata: {\"error\"").is_none()
    } else {
        let mut found = [None, None];
        crate::json::members(body, &["error", "status"], &mut found).is_ok() && {
            let value = |range: &Option<std::ops::Range<usize>>| {
                range.clone().and_then(|range| body.get(range)).unwrap_or(b"null")
            };
            let ended = [&b"null"[..], b"\"completed\""].contains(&value(&found[1]));
            value(&found[0]) == b"null" && (ended || want.dialect != Dialect::OpenAiResponses)
        }
    };
    let of = |name: &[u8]| headers.get(name).unwrap_or_default().into();
    is_complete.then(|| Answer {
        dialect: want.dialect,
        is_stream,
        content_type: content_type.into(),
        provider: of(b"x-neurohttp-provider"),
        model: of(b"x-neurohttp-model"),
        dropped: headers.get(b"x-neurohttp-dropped").map(Into::into),
        body: body.into(),
        reply: OnceLock::new(),
    })
}
