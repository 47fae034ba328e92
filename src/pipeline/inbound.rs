//! What an upstream sends back, without I/O: bytes that pass, or an answer that is translated.
//!
//! When client and provider speak the same dialect the bytes pass unread but for a watch on the
//! usage; else a decoder and an encoder stand between.

use super::call::{Call, is_listed};
use super::ending::Ending;
use super::hooks::Watched;
use crate::ai::chat;
use crate::ai::dialect::{Dialect, Meta, StreamEncoder};
use crate::ai::estimate::{self, Habit, Tally};
use crate::ai::provider::{Codec, StreamDecoder, decode_failure, wait};
use crate::ai::usage::{Filter, Watch};
use crate::base::error::Failure;
use crate::base::limits;
use crate::exchange::Response;
use crate::http::decoding::Decoder;
use crate::http::encode;
use crate::http::head::{Body, Known, ResponseHead};

/// What is done with an answer.
pub(super) enum Kind {
    /// A whole answer passes.
    PassWhole,
    /// A stream of events passes, whole events at a time.
    PassStream,
    /// A whole answer is collected for the hooks, then passes.
    HoldWhole { body: Vec<u8> },
    /// A whole answer is collected and translated.
    TranslateWhole { codec: &'static dyn Codec, meta: Box<Meta>, body: Vec<u8> },
    /// A stream is translated event by event.
    TranslateStream { decoder: Box<dyn StreamDecoder>, encoder: Box<dyn StreamEncoder> },
    /// A model of the host program makes a whole answer; this many bytes of it so far.
    MakeWhole { collector: Box<chat::Collector>, meta: Box<Meta>, bytes: usize },
    /// A model of the host program, or echo, makes a stream.
    MakeStream { encoder: Box<dyn StreamEncoder> },
}

/// Longest part of a refusal that is logged, in characters.
const REFUSAL_CHARS_MAX: usize = 400;

/// An upstream's error answer while its body comes in.
struct ErrorAnswer {
    status: u16,
    retry_after_s: Option<u32>,
    content_type: Vec<u8>,
    body: Vec<u8>,
}

/// What keeping a delta costs beside its text.
const DELTA_BYTES: usize = 64;

/// What neutral deltas have told.
#[derive(Default)]
struct Told {
    usage: Option<chat::Usage>,
    /// Bytes of text in them.
    text: u64,
    /// Bytes of them that the encoder keeps.
    kept: usize,
}

/// Reads what an upstream answers.
pub struct Inbound {
    kind: Kind,
    is_stream_asked: bool,
    dialect: Dialect,
    watch: Watch,
    /// Bytes of the answer that have come.
    passed: u64,
    /// The text in them, where nobody may tell the usage.
    tally: Option<Box<Tally>>,
    /// Looks for the end of a stream that passes.
    ending: Ending,
    /// What a translated answer told.
    told: Told,
    /// The beginning of an event whose end has not come.
    held: Vec<u8>,
    /// The body is compressed, although nobody asked for it: nothing can be read in it.
    is_coded: bool,
    /// The first piece of the answer itself has come.
    has_token: bool,
    error: Option<ErrorAnswer>,
    /// What the upstream said about our credential: for the log alone.
    refusal: Option<String>,
    /// The hooks that see this answer.
    watched: Option<Box<Watched>>,
    /// Decodes a body that is compressed although we asked for none.
    coding: Option<Box<Decoder>>,
    /// Hides the usage that we asked for and the client did not.
    filter: Option<Filter>,
}

/// How the answer goes on after its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterHead {
    /// The client's head can go out; this many body bytes follow, or chunks.
    Forward(Option<u64>),
    /// Nothing goes out before the whole body is here.
    Collect,
}

/// What the client gets of a piece of the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passing {
    /// The piece itself.
    AsItIs,
    /// What was written instead, perhaps nothing yet.
    Written,
}

impl Inbound {
    /// Nothing has come yet. `is_stream_asked`: the client wants a stream.
    pub(super) fn new(
        kind: Kind,
        is_stream_asked: bool,
        dialect: Dialect,
        watched: Option<Box<Watched>>,
    ) -> Inbound {
        Inbound {
            kind,
            is_stream_asked,
            dialect,
            watch: Watch::new(),
            passed: 0,
            tally: None,
            ending: Ending::framed(),
            told: Told::default(),
            held: Vec::new(),
            is_coded: false,
            has_token: false,
            error: None,
            refusal: None,
            watched,
            coding: None,
            filter: None,
        }
    }

    /// The same, hiding the usage of a stream from a client that did not ask for it.
    pub(super) fn hiding_usage(mut self, hides: bool) -> Inbound {
        if hides {
            self.filter = Some(Filter::new());
        }
        self
    }

    /// Looks at the text that passes: its usage may not be told.
    pub fn look(&mut self) {
        if matches!(self.kind, Kind::PassStream | Kind::PassWhole) {
            self.tally = Some(Box::default());
        }
    }

    /// The upstream's head has come, in answer to `call`. On `Forward` the response holds the
    /// client's head.
    ///
    /// # Errors
    /// The answer cannot be used, whatever follows.
    pub fn on_head(
        &mut self,
        call: &Call,
        head: &ResponseHead,
        raw: &[u8],
        now_unix_s: i64,
        response: &mut Response,
    ) -> Result<AfterHead, Failure> {
        let value = |known| head.find(known).map(|field| field.value.of(raw));
        let mut coding = value(Known::ContentEncoding)
            .filter(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"identity"));
        // What we can decode is read like any other answer; the rest may only pass whole.
        if let Some(decoder) =
            coding.and_then(|coding| Decoder::new(coding, limits::DECODED_PIECE_BYTES_MAX))
        {
            self.coding = Some(Box::new(decoder));
            coding = None;
        }
        if head.status >= 300 {
            if head.status < 400 {
                let message = "the provider answered with a redirect";
                return Err(Failure::new(502, message).code("upstream_failed"));
            }
            let fields = head.fields.iter().map(|field| (field.name.of(raw), field.value.of(raw)));
            let retry_after_s = wait::in_fields(head.status, fields, now_unix_s);
            if coding.is_some() {
                // Its words cannot be read, what its head says stands.
                return Err(decode_failure(head.status, retry_after_s, b""));
            }
            self.error = Some(ErrorAnswer {
                status: head.status,
                retry_after_s,
                content_type: value(Known::ContentType).unwrap_or(b"application/json").to_vec(),
                body: Vec::new(),
            });
            return Ok(AfterHead::Collect);
        }
        if let Some(coding) = coding {
            let is_guarded = self.watched.as_ref().is_some_and(|watched| watched.is_guarded());
            let is_passed = matches!(self.kind, Kind::PassStream | Kind::PassWhole);
            if !is_passed || is_guarded || !call.accepts_coding(coding) {
                let message = "the provider answered in an encoding that nobody asked for";
                return Err(Failure::new(502, message).code("upstream_garbage"));
            }
            self.is_coded = true;
        }
        let is_events = !self.is_coded
            && value(Known::ContentType)
                .is_some_and(|v| starts_with_any_case(v, b"text/event-stream"));
        match &self.kind {
            Kind::PassStream | Kind::PassWhole => {
                // What the upstream says its body is decides, not what was asked for.
                self.kind = if is_events { Kind::PassStream } else { Kind::PassWhole };
                response.status = head.status;
                forward_answer_fields(head, raw, response);
                if self.coding.is_some() {
                    response.headers.remove(b"content-encoding");
                }
                if is_events {
                    if head.body == Body::UntilClose {
                        self.ending = Ending::unframed(self.dialect);
                    }
                    response.headers.remove(b"cache-control");
                    response.headers.push(b"Cache-Control", b"no-cache");
                    response.headers.push(b"X-Accel-Buffering", b"no");
                    return Ok(AfterHead::Forward(None));
                }
                let is_json = self.is_json(value(Known::ContentType));
                if self
                    .watched
                    .as_ref()
                    .is_some_and(|watched| watched.is_guarded() || is_json && watched.wants_whole())
                {
                    self.kind = Kind::HoldWhole { body: Vec::new() };
                    return Ok(AfterHead::Collect);
                }
                Ok(AfterHead::Forward(match head.body {
                    _ if self.coding.is_some() => None,
                    Body::Length(bytes) => Some(bytes),
                    Body::None => Some(0),
                    Body::Chunked | Body::UntilClose => None,
                }))
            }
            Kind::TranslateStream { decoder, .. }
                if is_events
                    || decoder.reads_json()
                    || !self.is_json(value(Known::ContentType)) =>
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
            // Not before the head, or without one at all.
            Kind::HoldWhole { .. } | Kind::MakeWhole { .. } | Kind::MakeStream { .. } => {
                Err(cut_off())
            }
        }
    }

    fn is_json(&self, content_type: Option<&[u8]>) -> bool {
        content_type.is_some_and(|v| starts_with_any_case(v, b"application/json"))
    }

    /// Whether a piece of the answer itself has come: an event with data, or anything of a body
    /// that is no stream. Comments that keep a connection open are none.
    pub fn has_token(&self) -> bool {
        self.has_token
    }

    /// Whether the success mark of a stream has come: what follows it, or does not, harms nobody.
    pub fn is_complete(&self) -> bool {
        match &self.kind {
            Kind::PassStream => self.ending.is_complete(),
            Kind::TranslateStream { decoder, .. } => decoder.is_whole(),
            _ => false,
        }
    }

    /// Whether what comes is an answer, and not the words of a failure.
    pub fn is_answer(&self) -> bool {
        self.error.is_none()
    }

    /// The failure that the upstream's head has told of, when its body cannot be had whole.
    pub fn told_failure(&mut self) -> Option<Failure> {
        let error = self.error.take()?;
        Some(decode_failure(error.status, error.retry_after_s, b""))
    }

    /// Body bytes have come: says whether they are the client's as they are, else appends what the
    /// client gets now.
    ///
    /// # Errors
    /// The provider's own error in its stream, garbage, or too much.
    pub fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<Passing, Failure> {
        let Some(coding) = &mut self.coding else { return self.on_plain(data, out) };
        let decoded = coding.feed(data).map_err(|_| not_decoded())?;
        self.on_decoded(&decoded, out)?;
        Ok(Passing::Written)
    }

    fn on_decoded(&mut self, decoded: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        if self.on_plain(decoded, out)? == Passing::AsItIs {
            out.extend_from_slice(decoded);
        }
        Ok(())
    }

    fn on_plain(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<Passing, Failure> {
        if let Some(error) = &mut self.error {
            return match collect(&mut error.body, data, limits::UPSTREAM_ERROR_BYTES_MAX) {
                Ok(()) => Ok(Passing::Written),
                // Its words are too many, what its head says stands.
                Err(failure) => Err(self.told_failure().unwrap_or(failure)),
            };
        }
        self.passed += data.len() as u64;
        if let Some(tally) = &mut self.tally {
            tally.feed(data);
        }
        match &mut self.kind {
            Kind::PassWhole => {
                self.has_token = true;
                if !self.is_coded {
                    self.watch.feed(data);
                }
                return Ok(Passing::AsItIs);
            }
            Kind::PassStream => {
                self.watch.feed(data);
                self.ending.feed(data);
                if self.watched.is_none()
                    && let Some(filter) = &mut self.filter
                    && filter.passes(data)
                {
                    self.has_token = self.has_token || has_data_line(data);
                    return Ok(Passing::AsItIs);
                }
                let mut shown = Vec::new();
                let data = match &mut self.filter {
                    None => data,
                    Some(filter) => {
                        filter.feed(data, &mut shown);
                        &shown
                    }
                };
                if self.watched.is_some() || self.filter.is_some() {
                    self.has_token = self.has_token || has_data_line(data);
                }
                if let Some(watched) = &mut self.watched {
                    watched.pass(self.dialect, data, out)?;
                    return Ok(Passing::Written);
                }
                if self.filter.is_some() {
                    // It hands on whole events only.
                    out.append(&mut shown);
                    return Ok(Passing::Written);
                }
                // Whole events nearly always: nothing has to be held back.
                if self.held.is_empty() && data.ends_with(b"\n\n") {
                    self.has_token = self.has_token || has_data_line(data);
                    return Ok(Passing::AsItIs);
                }
                let from = out.len();
                pass_events(&mut self.held, data, out);
                self.has_token = self.has_token || has_data_line(&out[from..]);
            }
            Kind::HoldWhole { body } => {
                self.has_token = true;
                self.watch.feed(data);
                collect(body, data, limits::UPSTREAM_ANSWER_BYTES_MAX)?;
            }
            Kind::TranslateWhole { body, .. } => {
                collect(body, data, limits::UPSTREAM_ANSWER_BYTES_MAX)?;
            }
            Kind::TranslateStream { decoder, encoder } => {
                let mut writer = Writer::new(encoder, &mut self.told, &mut self.watched, out);
                let mut has_token = false;
                let fed = decoder.feed(data, &mut |delta| {
                    has_token = true;
                    writer.write(delta);
                });
                let ended = writer.end(fed);
                self.has_token |= has_token;
                ended?;
            }
            Kind::MakeWhole { .. } | Kind::MakeStream { .. } => {}
        }
        Ok(Passing::Written)
    }

    /// A model of the host program, or echo, says more; appends what the client gets now.
    ///
    /// # Errors
    /// A hook refuses it, or it is too much.
    pub fn on_made(&mut self, delta: chat::Delta, out: &mut Vec<u8>) -> Result<(), Failure> {
        match &mut self.kind {
            Kind::MakeStream { encoder } => {
                let mut writer = Writer::new(encoder, &mut self.told, &mut self.watched, out);
                writer.write(delta);
                writer.end(Ok(()))
            }
            Kind::MakeWhole { collector, bytes, .. } => {
                *bytes += DELTA_BYTES + delta.bytes();
                if *bytes > limits::UPSTREAM_ANSWER_BYTES_MAX {
                    return Err(too_large());
                }
                self.told.text += delta.text_bytes() as u64;
                collector.add(&delta);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A model of the host program has begun to answer. True: the response holds the client's head.
    pub fn on_making(&self, response: &mut Response) -> bool {
        let is_stream = matches!(self.kind, Kind::MakeStream { .. });
        if is_stream {
            stream_head(response);
        }
        is_stream
    }

    /// What is made cannot go on: appends the dialect's error event.
    pub(super) fn fail_made(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        self.release(out);
        if let Kind::MakeStream { encoder } = &mut self.kind {
            encoder.fail(failure, out);
        }
    }

    /// The body has ended as its framing says; appends the rest. On a collected answer the response
    /// is complete.
    ///
    /// # Errors
    /// What the client is told instead; `Failure` statuses as CONTRACT maps them.
    pub fn on_end(&mut self, response: &mut Response, out: &mut Vec<u8>) -> Result<(), Failure> {
        if let Some(coding) = self.coding.take() {
            let rest = coding.finish().map_err(|_| cut_off())?;
            self.on_decoded(&rest, out)?;
        }
        if let Some(error) = self.error.take() {
            return Err(self.upstream_error(error, response));
        }
        match &mut self.kind {
            Kind::PassWhole => Ok(()),
            Kind::PassStream => {
                if self.ending.is_missing() {
                    return Err(cut_off());
                }
                // A last event without its blank line is still the client's.
                out.append(&mut self.held);
                if let Some(filter) = &mut self.filter {
                    let mut rest = Vec::new();
                    filter.finish(&mut rest);
                    match &mut self.watched {
                        Some(watched) => watched.pass(self.dialect, &rest, out)?,
                        None => out.append(&mut rest),
                    }
                }
                if let Some(watched) = &mut self.watched {
                    watched.pass_end(self.dialect, out)?;
                    watched.ended();
                }
                Ok(())
            }
            Kind::HoldWhole { body } => {
                let edited = match &mut self.watched {
                    Some(watched) => watched.body(self.dialect, body)?,
                    None => None,
                };
                response.body = edited.unwrap_or_else(|| std::mem::take(body));
                Ok(())
            }
            Kind::TranslateWhole { codec, meta, body } => {
                let (reply, meta) = (codec.decode_reply(200, body)?, std::mem::take(meta));
                self.whole(reply, &meta, response)
            }
            Kind::TranslateStream { decoder, encoder } => {
                let mut writer = Writer::new(encoder, &mut self.told, &mut self.watched, out);
                let finished = decoder.finish(&mut |delta| writer.write(delta));
                let is_whole = *finished.as_ref().unwrap_or(&false);
                writer.release();
                writer.end(finished.map(drop))?;
                if !is_whole {
                    return Err(cut_off());
                }
                self.stream_ended(out);
                Ok(())
            }
            Kind::MakeWhole { collector, meta, .. } => {
                let (mut reply, meta) = (std::mem::take(collector).reply(), std::mem::take(meta));
                if reply.parts.is_empty() {
                    reply.parts.push(chat::Part::Text(String::new()));
                }
                response.status = 200;
                response.headers.push(b"Content-Type", b"application/json");
                self.whole(reply, &meta, response)
            }
            Kind::MakeStream { .. } => {
                self.made_end(out)?;
                self.stream_ended(out);
                Ok(())
            }
        }
    }

    /// The deltas of a stream that is made here have ended; appends what was held back.
    pub(super) fn made_end(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let Kind::MakeStream { encoder } = &mut self.kind else { return Ok(()) };
        let mut writer = Writer::new(encoder, &mut self.told, &mut self.watched, out);
        writer.release();
        writer.end(Ok(()))
    }

    /// What the guard held back goes out before an error is told, as far as it may.
    pub fn release(&mut self, out: &mut Vec<u8>) {
        match &mut self.kind {
            Kind::PassStream => {
                if let Some(watched) = &mut self.watched {
                    watched.pass_failed(out);
                }
            }
            Kind::TranslateStream { encoder, .. } | Kind::MakeStream { encoder } => {
                let mut writer = Writer::new(encoder, &mut self.told, &mut self.watched, out);
                writer.release();
            }
            _ => {}
        }
    }

    /// A whole answer in neutral form: puts it in the client's dialect.
    fn whole(
        &mut self,
        mut reply: chat::Reply,
        meta: &Meta,
        response: &mut Response,
    ) -> Result<(), Failure> {
        self.told.usage = reply.usage;
        self.told.text = reply.text_bytes() as u64;
        if let Some(watched) = &mut self.watched {
            watched.reply(&mut reply)?;
        }
        response.body.clear();
        self.dialect.encode_reply(&reply, meta, &mut response.body);
        Ok(())
    }

    /// A stream in neutral form has ended well: appends its success mark.
    pub(super) fn stream_ended(&mut self, out: &mut Vec<u8>) {
        if let Kind::TranslateStream { encoder, .. } | Kind::MakeStream { encoder } = &mut self.kind
        {
            encoder.finish(out);
        }
        if let Some(watched) = &mut self.watched {
            watched.ended();
        }
    }

    /// The client has seen the beginning of a stream that cannot go on: appends the dialect's error
    /// event. False when what it has seen is no stream: then only cutting tells the truth. `call` is
    /// the one this answers.
    pub fn fail_stream(&mut self, call: &Call, failure: &Failure, out: &mut Vec<u8>) -> bool {
        self.release(out);
        match &mut self.kind {
            Kind::PassStream => {
                self.held.clear();
                let mut encoder = self.dialect.stream_encoder(call.meta(), false);
                encoder.fail(failure, out);
                true
            }
            Kind::TranslateStream { encoder, .. } | Kind::MakeStream { encoder } => {
                encoder.fail(failure, out);
                true
            }
            Kind::PassWhole
            | Kind::HoldWhole { .. }
            | Kind::TranslateWhole { .. }
            | Kind::MakeWhole { .. } => false,
        }
    }

    /// What the upstream said when it refused our credential, which is for the log alone.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Tokens the provider told of.
    pub fn usage(&self) -> Option<chat::Usage> {
        self.told.usage.or_else(|| self.watch.usage())
    }

    /// How many tokens its answer has, as far as it has come: by its text, or by what such streams
    /// usually have.
    pub fn estimate(&self, habit: &Habit) -> u64 {
        let usual = match self.kind {
            Kind::PassStream if self.tally.is_none() => habit.tokens(self.passed),
            _ => None,
        };
        let tallied = self.tally.as_ref().map_or(0, |tally| tally.text_bytes(self.passed));
        usual.unwrap_or_else(|| estimate::tokens(self.told.text.max(tallied)))
    }

    /// Bytes of an upstream's answer that have come.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether the client asked for a stream: then the first token has a deadline of its own.
    pub fn is_stream(&self) -> bool {
        self.is_stream_asked
    }

    /// An error that is the client's to know passes with its body when both speak one dialect.
    fn upstream_error(&mut self, error: ErrorAnswer, response: &mut Response) -> Failure {
        let failure = decode_failure(error.status, error.retry_after_s, &error.body);
        if matches!(error.status, 401 | 403) {
            let words = decode_failure(400, None, &error.body).message;
            self.refusal = Some(words.chars().take(REFUSAL_CHARS_MAX).collect());
        }
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

/// Writes neutral deltas in the client's dialect, past the hooks.
struct Writer<'w> {
    encoder: &'w mut Box<dyn StreamEncoder>,
    told: &'w mut Told,
    watched: &'w mut Option<Box<Watched>>,
    out: &'w mut Vec<u8>,
    refused: Option<Failure>,
}

impl<'w> Writer<'w> {
    fn new(
        encoder: &'w mut Box<dyn StreamEncoder>,
        told: &'w mut Told,
        watched: &'w mut Option<Box<Watched>>,
        out: &'w mut Vec<u8>,
    ) -> Writer<'w> {
        Writer { encoder, told, watched, out, refused: None }
    }

    fn write(&mut self, delta: chat::Delta) {
        if self.refused.is_some() {
            return;
        }
        if let chat::Delta::Usage(usage) = &delta {
            self.told.usage = Some(*usage);
        }
        self.told.text += delta.text_bytes() as u64;
        if self.encoder.keeps(&delta) {
            self.told.kept += DELTA_BYTES + delta.bytes();
            if self.told.kept > limits::UPSTREAM_ANSWER_BYTES_MAX {
                self.refused = Some(too_large());
                return;
            }
        }
        match self.watched {
            None => self.encoder.event(&delta, self.out),
            Some(watched) => {
                let mut emit = |delta: chat::Delta| self.encoder.event(&delta, self.out);
                self.refused = watched.delta(delta, &mut emit).err();
            }
        }
    }

    /// What the guard holds back goes on.
    fn release(&mut self) {
        if self.refused.is_none()
            && let Some(watched) = self.watched
        {
            let mut emit = |delta: chat::Delta| self.encoder.event(&delta, self.out);
            self.refused = watched.delta_end(&mut emit).err();
        }
    }

    /// The outcome: a refusal goes before what the provider's bytes led to.
    fn end(self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        match self.refused {
            Some(failure) => Err(failure),
            None => outcome,
        }
    }
}

/// The failure for an answer that stops in the middle.
pub fn cut_off() -> Failure {
    Failure::new(502, "the provider's answer was cut off").code("upstream_cut")
}

fn collect(body: &mut Vec<u8>, data: &[u8], bytes_max: usize) -> Result<(), Failure> {
    if body.len() + data.len() > bytes_max {
        return Err(too_large());
    }
    body.extend_from_slice(data);
    Ok(())
}

fn not_decoded() -> Failure {
    Failure::new(502, "the provider's compressed answer cannot be read").code("upstream_invalid")
}

fn too_large() -> Failure {
    Failure::new(502, "the provider's answer is too large").code("upstream_too_large")
}

/// The head of a streamed answer. Proxies in front of us must not collect it.
pub(super) fn stream_head(response: &mut Response) {
    response.status = 200;
    response.headers.push(b"Content-Type", b"text/event-stream");
    response.headers.push(b"Cache-Control", b"no-cache");
    response.headers.push(b"X-Accel-Buffering", b"no");
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

/// Whether a line of these events carries data.
fn has_data_line(events: &[u8]) -> bool {
    memchr::memmem::find_iter(events, b"data:")
        .any(|at| at.checked_sub(1).is_none_or(|before| matches!(events[before], b'\n' | b'\r')))
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
}
