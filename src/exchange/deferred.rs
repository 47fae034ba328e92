//! An answer that comes later, from any thread.

use super::{Exchange, Request, StreamQueue};
use std::sync::Arc;

/// The right and the duty to answer an exchange after its handler has returned. Dropped without
/// an answer, the client gets 500.
pub struct Deferred {
    exchange: Option<Box<Exchange>>,
    streaming: bool,
}

impl Deferred {
    pub(super) fn new(exchange: Exchange) -> Deferred {
        Deferred { exchange: Some(Box::new(exchange)), streaming: false }
    }

    /// The request that is answered.
    pub fn request(&self) -> Option<&Arc<Request>> {
        self.exchange.as_ref().map(|exchange| &exchange.request)
    }

    /// The exchange, to set headers and body of its response or to begin a stream.
    pub fn exchange_mut(&mut self) -> Option<&mut Exchange> {
        self.exchange.as_deref_mut()
    }

    /// Whether the client has gone.
    pub fn is_cancelled(&self) -> bool {
        self.exchange.as_ref().is_none_or(|exchange| exchange.request.is_gone())
    }

    /// Begins a stream; the deferred itself is then done.
    pub fn start_stream(&mut self, bytes_max: usize) -> Option<Arc<StreamQueue>> {
        let queue = self.exchange.as_mut()?.start_stream(bytes_max)?;
        self.streaming = true;
        Some(queue)
    }

    /// Sends what the response holds. Nothing happens when a stream has begun: it lives on.
    pub fn done(mut self) {
        self.complete();
    }

    fn complete(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        if exchange.pending == super::Pending::Nothing {
            let (owner, ticket) = (Arc::clone(exchange.owner()), exchange.ticket());
            owner.deferred_done(ticket, exchange);
        }
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.as_mut()
            && exchange.pending == super::Pending::Nothing
        {
            exchange.response.clear();
            exchange.response.status = 500;
        }
        self.complete();
    }
}
