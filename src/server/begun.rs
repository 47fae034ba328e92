//! How a new thread tells the one that started it whether it has begun.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::base::error::{Error, ErrorKind};

/// Waits for the new thread. Not a channel of the standard library: see [`crate::sys::thread`].
#[derive(Default)]
pub(super) struct Begun {
    result: Mutex<Option<Result<(), Error>>>,
    told: Condvar,
}

impl Begun {
    /// Waits until it is told.
    pub(super) fn wait(&self) -> Result<(), Error> {
        let mut result = self.result.lock();
        loop {
            match result.take() {
                Some(result) => return result,
                None => self.told.wait(&mut result),
            }
        }
    }
}

/// The new thread's side. Dropped without a word it tells of a failure.
pub(super) struct Tell(pub(super) Arc<Begun>);

impl Tell {
    pub(super) fn tell(self, result: Result<(), Error>) {
        self.0.result.lock().get_or_insert(result);
    }
}

impl Drop for Tell {
    fn drop(&mut self) {
        let ended = || Err(Error::new(ErrorKind::Io, "a worker ended before it began"));
        self.0.result.lock().get_or_insert_with(ended);
        self.0.told.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_counts_and_silence_is_a_failure() {
        let begun = Arc::new(Begun::default());
        Tell(Arc::clone(&begun)).tell(Ok(()));
        assert_eq!(begun.wait(), Ok(()));
        let tell = Tell(Arc::clone(&begun));
        let thread = std::thread::spawn(move || drop(tell));
        assert!(begun.wait().is_err());
        thread.join().unwrap();
    }
}
