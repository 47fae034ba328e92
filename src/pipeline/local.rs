//! Answers that are made inside the process: by echo, by a model of the host program, by counting.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::call::{Attempt, Call, Making, tell_dropped};
use super::generation::Question;
use super::inbound::{Inbound, Kind, stream_head};
use super::provider::Provider;
use super::{App, Pull, Spent};
use crate::ai::chat;
use crate::ai::dialect::Dialect;
use crate::ai::price::Prices;
use crate::ai::provider::{EncodedRequest, Wire, codec, echo};
use crate::ai::tokenizer::{self, Encoding};
use crate::base::error::Failure;
use crate::base::limits;
use crate::exchange::{Response, Taken};

impl Call {
    /// The answer of a provider that nothing is sent to.
    pub(super) fn local(
        &self,
        app: &App,
        index: usize,
        provider: &Provider,
        model: &str,
        response: &mut Response,
    ) -> Result<Attempt, Failure> {
        match provider.wire {
            _ if self.dialect() == Dialect::AnthropicCountTokens => self.count(),
            Wire::Echo => self.echo(app, response),
            Wire::Host => self.make(app, index, provider, model, response),
            _ => {
                let message = format!("the provider {} cannot be spoken to", provider.name);
                Err(Failure::new(501, message))
            }
        }
    }

    fn echo(&self, app: &App, response: &mut Response) -> Result<Attempt, Failure> {
        let request = self.dialect().decode_request(self.body())?;
        let watched = self.watched(app);
        if self.is_stream() {
            stream_head(response);
            let encoder = self.dialect().stream_encoder(self.meta(), request.include_usage);
            return Ok(Attempt::LocalStream(Box::new(EchoPull {
                generator: echo::generate(&request),
                inbound: self.inbound(Kind::MakeStream { encoder }, watched),
                number: self.number(),
                prices: self.prices(),
            })));
        }
        let mut reply: chat::Reply = echo::reply(&request);
        if let Some(mut watched) = watched {
            watched.reply(&mut reply)?;
        }
        response.status = 200;
        response.headers.push(b"Content-Type", b"application/json");
        self.dialect().encode_reply(&reply, &self.meta(), &mut response.body);
        Ok(Attempt::LocalWhole(reply.usage.unwrap_or_default()))
    }

    /// A model of the host program.
    fn make(
        &self,
        app: &App,
        index: usize,
        provider: &Provider,
        model: &str,
        response: &mut Response,
    ) -> Result<Attempt, Failure> {
        let Some(generator) = app.generators.get(model) else {
            let message = "this program has no such model";
            return Err(Failure::new(404, message).code("model_not_found").param("model"));
        };
        let mut request = self.dialect().decode_request(self.body())?;
        request.stream = self.is_stream();
        let json = match self.dialect() {
            // As it was written, with whatever only the two ends know.
            Dialect::OpenAiChat => self.body().to_vec(),
            _ => {
                let mut encoded = EncodedRequest::default();
                let info = provider.target(self.model());
                if let Some(codec) = codec(Wire::OpenAi) {
                    codec.encode_request(&request, &info, &mut encoded)?;
                }
                tell_dropped(app, &encoded, response)?;
                encoded.body
            }
        };
        let question = Arc::new(Question::new(&request, json));
        let include_usage = request.include_usage;
        let meta = self.meta_for(request);
        let kind = if self.is_stream() {
            Kind::MakeStream { encoder: self.dialect().stream_encoder(meta, include_usage) }
        } else {
            Kind::MakeWhole { collector: Box::default(), meta: Box::new(meta), bytes: 0 }
        };
        let watched = self.watched(app);
        Ok(Attempt::Make(Box::new(Making {
            generator: Arc::clone(generator),
            question,
            provider: index,
            inbound: self.inbound(kind, watched),
        })))
    }

    /// A count of tokens by our own encoding, for providers that have no such method.
    pub(super) fn count(&self) -> Result<Attempt, Failure> {
        let request = self.dialect().decode_request(self.body())?;
        let (dialect, meta) = (self.dialect(), self.meta());
        let count = move || {
            let prompt_tokens = tokenizer::count_request(Encoding::O200k, &request);
            let usage = chat::Usage { prompt_tokens, ..chat::Usage::default() };
            let reply = chat::Reply { usage: Some(usage), ..chat::Collector::new().reply() };
            let mut body = Vec::new();
            dialect.encode_reply(&reply, &meta, &mut body);
            body
        };
        let may_wait = self.body().len() <= limits::COUNTED_ON_LOOP_BYTES_MAX
            && tokenizer::is_loaded(Encoding::O200k);
        Ok(Attempt::Work { work: Box::new(count), is_quick: may_wait })
    }
}

/// An echo as the body of a stream.
struct EchoPull {
    generator: echo::EchoGenerator,
    inbound: Inbound,
    number: usize,
    prices: Prices,
}

impl Pull for EchoPull {
    fn pull(&mut self, out: &mut Vec<u8>, bytes_wanted: usize) -> Taken {
        while out.len() < bytes_wanted {
            let Some(delta) = self.generator.next() else {
                match self.inbound.made_end(out) {
                    Ok(()) => self.inbound.stream_ended(out),
                    Err(failure) => self.inbound.fail_made(&failure, out),
                }
                return Taken::End;
            };
            if let Err(failure) = self.inbound.on_made(delta, out) {
                self.inbound.fail_made(&failure, out);
                return Taken::End;
            }
        }
        Taken::More
    }

    fn spent(&self) -> Option<Spent> {
        let usage = self.generator.usage();
        Some(Spent { number: self.number, usage, prices: self.prices })
    }
}
