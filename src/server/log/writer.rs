//! The thread that writes log lines, so that a full disk or a slow terminal never holds up a
//! worker: lines wait in a bounded buffer, and what does not fit is counted and told of once there
//! is room again.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::line;
use crate::base::limits;
use crate::sys::{clock, file};

/// Where lines go.
pub(super) enum Place {
    Stderr,
    File(File, PathBuf),
}

impl Place {
    /// A file that lines are appended to.
    ///
    /// # Errors
    /// The system's, when it cannot be opened.
    pub(super) fn file(path: &str) -> io::Result<Place> {
        Ok(Place::File(file::open_to_append(Path::new(path))?, PathBuf::from(path)))
    }
}

/// Takes lines on any thread and writes them on one of its own, begun with the first line.
pub(super) struct Writer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to do for the thread, or it has done everything.
    changed: Condvar,
    /// Lines that found no room or could not be written. Relaxed: it is only shown.
    lost: Arc<AtomicU64>,
}

#[derive(Default)]
struct State {
    /// Where lines go; the thread takes it while it runs.
    place: Option<Place>,
    waiting: Vec<u8>,
    /// Lines that found no room since the last one that did.
    dropped: u64,
    /// The thread waits for a line.
    is_idle: bool,
    /// Lines are JSON.
    is_json: bool,
    reopen: bool,
    is_running: bool,
    thread: Option<JoinHandle<()>>,
    ended: bool,
}

impl Writer {
    /// Counts in `lost` what this place does not get.
    pub(super) fn new(place: Place, lost: Arc<AtomicU64>) -> Writer {
        let shared = Arc::new(Shared { lost, ..Shared::default() });
        shared.state.lock().place = Some(place);
        Writer { shared }
    }

    /// Hands over one line, its line feed included.
    pub(super) fn line(&self, text: &[u8], is_json: bool) {
        let mut state = self.shared.state.lock();
        state.is_json = is_json;
        if state.waiting.len() + text.len() > limits::LOG_WAITING_BYTES_MAX {
            state.dropped += 1;
            drop(state);
            self.shared.lost.fetch_add(1, Relaxed);
            return;
        }
        state.waiting.extend_from_slice(text);
        if !state.is_running {
            self.begin(&mut state);
        }
        let is_awaited = std::mem::take(&mut state.is_idle);
        drop(state);
        if is_awaited {
            self.shared.changed.notify_all();
        }
    }

    /// Opens the file anew before the next line: it was moved away (log rotation).
    pub(super) fn reopen(&self) {
        let mut state = self.shared.state.lock();
        state.reopen = true;
        if !state.is_running {
            self.begin(&mut state);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    fn begin(&self, state: &mut State) {
        let Some(mut place) = state.place.take() else { return };
        state.is_running = true;
        let shared = Arc::clone(&self.shared);
        let begun = thread::Builder::new()
            .name("neurohttp-log".to_owned())
            .spawn(move || write_on(&shared, &mut place));
        match begun {
            Ok(thread) => state.thread = Some(thread),
            Err(_) => {
                // Without a thread there is no log; a line that waits would wait for ever.
                state.waiting = Vec::new();
                state.is_running = false;
            }
        }
    }
}

impl Drop for Writer {
    /// Waits for what was handed over, but not for a place that takes nothing.
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_millis(limits::LOG_FLUSH_MS);
        let mut state = self.shared.state.lock();
        state.ended = true;
        self.shared.changed.notify_all();
        while state.is_running {
            if self.shared.changed.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
        let thread = state.thread.take();
        drop(state);
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }
}

/// The thread: takes all that waits and writes it with one call. Then it rests, so that under load
/// one wake-up and one call serve many lines.
fn write_on(shared: &Shared, place: &mut Place) {
    let mut taken = Vec::new();
    let mut lost = Lost::default();
    loop {
        let mut state = shared.state.lock();
        while state.waiting.is_empty() && !state.reopen && !state.ended {
            state.is_idle = true;
            shared.changed.wait(&mut state);
        }
        state.is_idle = false;
        if state.waiting.is_empty() && !state.reopen {
            state.is_running = false;
            shared.changed.notify_all();
            return;
        }
        std::mem::swap(&mut state.waiting, &mut taken);
        let dropped = std::mem::take(&mut state.dropped);
        let reopen = std::mem::take(&mut state.reopen);
        let is_json = state.is_json;
        drop(state);
        if reopen {
            reopen_file(place, &mut taken, is_json);
        }
        if dropped > 0 {
            let text = notice(is_json, &format!("{dropped} log lines found no room"));
            taken.extend_from_slice(&text);
        }
        // A log that cannot be written is no reason to stop serving.
        let told = lost.notice(is_json);
        let written = match place {
            Place::Stderr => write(&mut io::stderr(), told, &taken),
            Place::File(file, _) => write(file, told, &taken),
        };
        match written {
            Ok(()) => lost = Lost::default(),
            Err(error) => {
                let before = lost.lines;
                lost.add(&taken, &error);
                shared.lost.fetch_add((lost.lines - before) as u64, Relaxed);
            }
        }
        taken.clear();
        taken.shrink_to(limits::POOLED_BUFFER_BYTES_MAX);
        rest(shared);
    }
}

/// Lets lines gather, unless there is something to do that does not wait.
fn rest(shared: &Shared) {
    let deadline = Instant::now() + Duration::from_millis(limits::LOG_REST_MS);
    let mut state = shared.state.lock();
    while !state.reopen && !state.ended {
        if shared.changed.wait_until(&mut state, deadline).timed_out() {
            return;
        }
    }
}

/// What the log says of itself.
fn notice(is_json: bool, text: &str) -> Vec<u8> {
    line::notice(is_json, clock::unix_ms(), text)
}

fn write(out: &mut impl Write, told: Option<Vec<u8>>, lines: &[u8]) -> io::Result<()> {
    if let Some(told) = told {
        out.write_all(&told)?;
    }
    out.write_all(lines)
}

/// Lines that could not be written, as on a disk that is full.
#[derive(Default)]
struct Lost {
    lines: usize,
    reason: String,
}

impl Lost {
    fn add(&mut self, lines: &[u8], error: &io::Error) {
        self.lines += memchr::memchr_iter(b'\n', lines).count();
        self.reason = error.to_string();
    }

    /// What is said as soon as something can be written again. A part of a line may stand before
    /// it.
    fn notice(&self, is_json: bool) -> Option<Vec<u8>> {
        let Lost { lines, reason } = self;
        let text = format!("{lines} log lines could not be written: {reason}");
        (*lines > 0).then(|| [b"\n", &*notice(is_json, &text)].concat())
    }
}

/// A file that cannot be opened anew stays the one it was, and says so.
fn reopen_file(place: &mut Place, taken: &mut Vec<u8>, is_json: bool) {
    let Place::File(file, path) = place else { return };
    match file::open_to_append(path) {
        Ok(opened) => *file = opened,
        Err(error) => {
            let text = format!("log.file {} cannot be opened anew: {error}", path.display());
            taken.extend_from_slice(&notice(is_json, &text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    /// A folder of its own for each test, removed with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("nh-log-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    fn writer(path: &Path) -> Writer {
        Writer::new(Place::file(path.to_str().unwrap()).unwrap(), Arc::default())
    }

    /// Wrong: the start waits for somebody who reads the pipe.
    #[test]
    fn a_pipe_that_nobody_reads_is_refused_at_once() {
        let folder = Folder::new("unread");
        let path = folder.0.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let refused = Place::file(path.to_str().unwrap()).err().unwrap();
        assert_eq!(refused.raw_os_error(), Some(libc::ENXIO));
    }

    /// Wrong: lines are lost when the server ends, or come out of order.
    #[test]
    fn everything_is_written_in_order_before_the_end() {
        let folder = Folder::new("order");
        let path = folder.0.join("log");
        let writer = writer(&path);
        let mut expected = String::new();
        for number in 0..10_000 {
            let line = format!("line {number}\n");
            expected.push_str(&line);
            // Beyond the bound lines are dropped: let the thread catch up.
            while writer.shared.state.lock().waiting.len() > limits::LOG_WAITING_BYTES_MAX / 2 {
                thread::yield_now();
            }
            writer.line(line.as_bytes(), false);
        }
        drop(writer);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }

    /// Wrong: after a rotation lines go on into the file that was moved away.
    #[test]
    fn a_file_that_was_moved_is_opened_anew() {
        let folder = Folder::new("reopen");
        let (path, moved) = (folder.0.join("log"), folder.0.join("log.1"));
        let writer = writer(&path);
        writer.line(b"before\n", false);
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::read_to_string(&path).unwrap() != "before\n" {
            assert!(Instant::now() < deadline, "the line was not written");
            thread::yield_now();
        }
        std::fs::rename(&path, &moved).unwrap();
        writer.reopen();
        writer.line(b"after\n", false);
        drop(writer);
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "before\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
    }

    /// Wrong: a disk that was full leaves a gap that nobody can see, or ends the log for good.
    #[test]
    fn lines_that_a_full_disk_has_not_taken_are_told_of() {
        let folder = Folder::new("full");
        let path = folder.0.join("log");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let writer = writer(&path);
        writer.line(b"{}\n", true);
        writer.line(b"{}\n", true);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !writer.shared.state.lock().waiting.is_empty() {
            assert!(Instant::now() < deadline, "nobody has taken the lines");
            thread::yield_now();
        }
        std::fs::remove_file(&path).unwrap();
        writer.reopen();
        writer.line(b"{\"after\":1}\n", true);
        let lost = Arc::clone(&writer.shared.lost);
        drop(writer);
        assert_eq!(lost.load(Relaxed), 2);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
        let told: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        let words = "2 log lines could not be written: No space left on device (os error 28)";
        assert_eq!((&told["message"], &told["level"]), (&words.into(), &"warn".into()), "{text}");
        assert_eq!(lines[1..], ["{\"after\":1}"]);
    }

    /// Wrong: a place that takes nothing blocks the caller, or memory grows without a bound.
    #[test]
    fn a_stuck_place_holds_nobody_up() {
        let folder = Folder::new("stuck");
        let path = folder.0.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        // Open for both, so that opening does not wait for a reader and writing does.
        let pipe = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let writer = Writer::new(Place::File(pipe.try_clone().unwrap(), path), Arc::default());
        let line = "x".repeat(4095) + "\n";
        for _ in 0..2 * limits::LOG_WAITING_BYTES_MAX / line.len() {
            writer.line(line.as_bytes(), false);
        }
        let state = writer.shared.state.lock();
        assert!(state.waiting.len() <= limits::LOG_WAITING_BYTES_MAX);
        assert!(state.dropped > 0);
        assert_eq!(writer.shared.lost.load(Relaxed), state.dropped);
        drop(state);
        let began = Instant::now();
        drop(writer);
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
