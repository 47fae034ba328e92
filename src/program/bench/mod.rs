//! `neurohttp bench URL`: load for users without a load generator.
//!
//! Closed loop: each connection sends its next request when the answer to the last one is complete.
//! Threads share nothing but a count of what is left and one of what is done; each has its own
//! epoll and its own figures, which are summed at the end.

mod answer;
mod drive;
mod histogram;
mod options;
mod report;
mod tally;
mod wire;

use std::io::{IsTerminal as _, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub(crate) use options::{Options, parse};

use neurohttp::sys::signal::Signals;

use super::terminal;
use crate::Trouble;
use tally::Tally;
use wire::Secure;

/// What all threads look at.
struct Shared {
    addresses: Vec<SocketAddr>,
    secure: Option<Secure>,
    request: Vec<u8>,
    method: String,
    stream: bool,
    timeout_us: u64,
    began: Instant,
    /// Requests that may still be begun.
    left: AtomicU64,
    is_over: AtomicBool,
    answers: AtomicU64,
}

impl Shared {
    /// Whether one more request may be begun.
    fn take(&self) -> bool {
        !self.is_over.load(Relaxed)
            && self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Runs a load and tells what came of it.
///
/// # Errors
/// The address cannot be resolved, a file cannot be read, or not one answer came.
pub(crate) fn run(options: &Options) -> Result<(), Trouble> {
    // Each connection is a descriptor; so are a few others.
    let files = neurohttp::sys::proc::open_files_max(true);
    if options.connections as u64 + 64 > files {
        let message = format!("-c {}: at most {files} files may be open here", options.connections);
        return Err(Trouble::Usage(message));
    }
    let url = &options.url;
    let addresses: Vec<_> = (url.host.as_str(), url.port)
        .to_socket_addrs()
        .map_err(|error| Trouble::Running(format!("{}: {error}", url.authority)))?
        .collect();
    if addresses.is_empty() {
        return Err(Trouble::Running(format!("{}: there is no address", url.authority)));
    }
    let secure = match url.is_tls {
        true => Some(Secure::new(&url.host, options.ca_file.as_deref(), options.insecure)),
        false => None,
    };
    let shared = Arc::new(Shared {
        addresses,
        secure: secure.transpose().map_err(Trouble::Usage)?,
        request: options.request().map_err(Trouble::Usage)?,
        method: options.method.clone(),
        stream: options.stream,
        timeout_us: options.timeout_ms * 1_000,
        began: Instant::now(),
        left: AtomicU64::new(options.requests.unwrap_or(u64::MAX)),
        is_over: AtomicBool::new(false),
        answers: AtomicU64::new(0),
    });
    // An interrupted load tells what has come so far. Blocked before the threads begin.
    let signals = Signals::block().map_err(|error| Trouble::Running(error.to_string()))?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = if options.threads == 0 { processors } else { options.threads };
    let count = wanted.clamp(1, options.connections);
    let threads: Vec<_> = (0..count)
        .map(|index| {
            let shared = Arc::clone(&shared);
            let share =
                options.connections / count + usize::from(index < options.connections % count);
            std::thread::spawn(move || drive::run(&shared, share))
        })
        .collect();
    wait(options, &shared, &threads, &signals);
    shared.is_over.store(true, Relaxed);
    let mut tally = Tally::default();
    for thread in threads {
        match thread.join() {
            Ok(Ok(mine)) => tally.merge(mine),
            Ok(Err(error)) => return Err(Trouble::Running(format!("bench: {error}"))),
            Err(_) => return Err(Trouble::Running("bench: a thread panicked".to_owned())),
        }
    }
    let elapsed = shared.began.elapsed();
    let text = match options.json {
        true => report::json(options, &tally, elapsed),
        false => report::text(options, &tally, elapsed),
    };
    crate::say(&text)?;
    match tally.answers {
        0 => Err(Trouble::Running(match tally.first_said() {
            Some(said) => format!("not one answer came: {said}"),
            None => "not one answer came".to_owned(),
        })),
        _ => Ok(()),
    }
}

/// Waits for the end or a signal, with a bar on a terminal.
fn wait<T>(
    options: &Options,
    shared: &Shared,
    threads: &[std::thread::JoinHandle<T>],
    signals: &Signals,
) {
    let limit = options.duration_ms.map(Duration::from_millis);
    let has_bar = !options.quiet && std::io::stderr().is_terminal();
    let mut told = Instant::now();
    let mut before = 0;
    loop {
        let elapsed = shared.began.elapsed();
        if limit.is_some_and(|limit| elapsed >= limit)
            || threads.iter().all(std::thread::JoinHandle::is_finished)
        {
            break;
        }
        let step = Duration::from_millis(20);
        let step = limit.map_or(step, |limit| step.min(limit - elapsed));
        if signals.wait_for(step.as_millis() as u32).is_some() {
            break;
        }
        if has_bar && told.elapsed() >= Duration::from_millis(250) {
            let answers = shared.answers.load(Relaxed);
            let rate = (answers - before) as f64 / told.elapsed().as_secs_f64();
            (told, before) = (Instant::now(), answers);
            let of_time = limit.map(|limit| elapsed.as_secs_f64() / limit.as_secs_f64());
            let of_count = options.requests.map(|all| answers as f64 / all as f64);
            let share = of_time.into_iter().chain(of_count).fold(0.0, f64::max);
            eprint!(
                "\r\x1b[K{} {:>3.0} %  {}/s",
                terminal::bar(share, 30),
                share.min(1.0) * 100.0,
                terminal::rate(rate)
            );
        }
    }
    if has_bar {
        eprint!("\r\x1b[K");
        drop(std::io::stderr().flush());
    }
}
