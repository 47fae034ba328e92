//! A server as a process: started, found by the port it prints, watched, stopped, never left behind.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::cc::{Link, build, c_compiler, succeed};
use super::stage::{scratch, stage};
use super::{PATIENCE, wire::Connection};

/// A running server.
pub struct Server {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    /// The port on 127.0.0.1, or 0 when it has printed none.
    pub port: u16,
}

/// A command in a clean environment: no provider keys, no proxies, no configuration lying about.
pub fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(scratch()).stdin(Stdio::null());
    for name in ["PATH", "LD_LIBRARY_PATH", "HOME", "ASAN_OPTIONS", "LSAN_OPTIONS"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// The `neurohttp` program in a clean environment. What it loads may have been compiled for
/// AddressSanitizer, whose runtime has to be there first then.
pub fn program() -> Command {
    let mut command = clean(&stage().program);
    if std::env::var("NH_CFLAGS").is_ok_and(|flags| flags.contains("-fsanitize=address")) {
        let runtime = succeed(c_compiler().arg("-print-file-name=libasan.so"));
        command.env("LD_PRELOAD", runtime.trim());
    }
    command
}

/// An example of `c_examples/`, built, in a clean environment.
pub fn example(name: &str, link: Link) -> Command {
    clean(build(&format!("c_examples/{name}.c"), link))
}

impl Server {
    /// Starts the command and waits until it has printed where it listens.
    pub fn start(command: &mut Command) -> Server {
        let mut server = Server::launch(command);
        // The program's or example's own word, not the log's: by then its signals are set up.
        let own = |line: &str| line.starts_with("listening on") || line.starts_with("NeuroHTTP");
        let line = server.line(|line| own(line) && port_in(line).is_some());
        server.port = port_in(&line).unwrap();
        server
    }

    /// The same for a program that says nothing itself: the log's line counts.
    pub fn start_by_log(command: &mut Command) -> Server {
        let mut server = Server::launch(command);
        let line = server.line(|line| line.contains("listening on") && port_in(line).is_some());
        server.port = port_in(&line).unwrap();
        server
    }

    /// Starts the command without waiting for a port.
    pub fn launch(command: &mut Command) -> Server {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        forward(child.stdout.take().unwrap(), sender.clone());
        forward(child.stderr.take().unwrap(), sender);
        Server { child, lines, seen: Vec::new(), port: 0 }
    }

    /// The program with the default listener on a free port and these settings.
    pub fn gateway(settings: &[&str]) -> Server {
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        Server::start(&mut command)
    }

    /// Waits for a line, on either output, that satisfies `wanted`.
    pub fn line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        if let Some(line) = self.seen.iter().find(|line| wanted(line)) {
            return line.clone();
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(error) => panic!("{error} while waiting for a line; seen:\n{}", self.output()),
            }
        }
    }

    /// Everything printed so far.
    pub fn output(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }

    /// The id of the process.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// A new connection to it.
    pub fn connect(&self) -> Connection {
        Connection::open(self.port)
    }

    /// Sends a signal.
    pub fn signal(&self, number: i32) {
        // SAFETY: kill takes no pointer; the process is our child and not yet waited for.
        assert_eq!(unsafe { libc::kill(self.pid(), number) }, 0);
    }

    /// Waits for its end; panics when that takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        // SAFETY: pidfd_open takes no pointer.
        let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid(), 0) } as i32;
        if raw >= 0 {
            // SAFETY: the descriptor is new and nobody else's.
            let watch = unsafe { OwnedFd::from_raw_fd(raw) };
            let mut poll = libc::pollfd { fd: watch.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one pollfd, alive during the call.
            let ready = unsafe { libc::poll(&mut poll, 1, limit.as_millis() as i32) };
            assert_eq!(ready, 1, "still running after {limit:?}:\n{}", self.output());
        }
        self.child.wait().unwrap()
    }

    /// Asks it to stop with SIGTERM and expects a clean end; returns all it has printed.
    pub fn stop(mut self) -> String {
        self.signal(libc::SIGTERM);
        self.expect_exit(0)
    }

    /// Waits for its end, which must have this code; returns all it has printed.
    pub fn expect_exit(&mut self, code: i32) -> String {
        let status = self.wait(3 * PATIENCE);
        // The outputs end with the process; their readers then hang up.
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        let output = self.seen.join("\n");
        assert_eq!(status.signal(), None, "ended by a signal:\n{output}");
        assert_eq!(status.code(), Some(code), "{output}");
        output
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Resident memory, KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// Threads.
    pub fn threads(&self) -> usize {
        std::fs::read_dir(self.proc("task")).unwrap().count()
    }

    /// Processor time of all its threads so far, in nanoseconds (/proc/PID/schedstat of each).
    pub fn cpu_ns(&self) -> u64 {
        let threads = std::fs::read_dir(self.proc("task")).unwrap();
        let of = |thread: std::path::PathBuf| {
            // One that has ended since counts for nothing.
            let text = std::fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|it| it.parse::<u64>().ok()).unwrap_or(0)
        };
        threads.map(|thread| of(thread.unwrap().path())).sum()
    }

    /// Lets it run on these processors only.
    pub fn run_on(&self, processors: &[usize]) {
        let mut bits = [0_u64; 16];
        processors.iter().for_each(|at| bits[at / 64] |= 1 << (at % 64));
        for thread in std::fs::read_dir(self.proc("task")).unwrap() {
            let id: i32 = thread.unwrap().file_name().to_str().unwrap().parse().unwrap();
            // SAFETY: the set is as long as is said, and bits to the system.
            let done =
                unsafe { libc::sched_setaffinity(id, size_of_val(&bits), bits.as_ptr().cast()) };
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        }
    }

    fn proc(&self, file: &str) -> std::path::PathBuf {
        Path::new("/proc").join(self.pid().to_string()).join(file)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the server had printed:\n{}\n----", self.output());
        }
    }
}

fn forward(output: impl Read + Send + 'static, sender: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

/// The port in a line that tells where a server listens.
fn port_in(line: &str) -> Option<u16> {
    let after = line.split_once("127.0.0.1:")?.1;
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after[..digits].parse().ok().filter(|port| *port != 0)
}
