//! An upstream made of a script per connection, and a gateway in this process in front of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use neurohttp::config::{Origin, Sources};
use neurohttp::server::{Server, Setup};

use crate::support::wire::Connection;
use crate::support::{PATIENCE, wait_until};

/// What a client asks for unless the test is about it.
pub const ASK: &str = r#"{"model":"up/m","messages":[{"role":"user","content":"x"}]}"#;
/// The same as a stream.
pub const ASK_STREAM: &str =
    r#"{"model":"up/m","stream":true,"messages":[{"role":"user","content":"x"}]}"#;
/// A good answer.
pub const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 11\r\n\r\n{\"ok\":true}";

/// A listening upstream; its threads end with their connections.
pub struct Upstream {
    pub port: u16,
    accepted: Arc<AtomicUsize>,
    wrong: Arc<Mutex<Vec<String>>>,
}

/// One accepted connection.
pub struct Peer {
    stream: TcpStream,
    /// How many came before it.
    pub number: usize,
}

impl Upstream {
    /// Runs `script` on a thread of its own for each connection.
    pub fn start(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Upstream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let wrong = Arc::new(Mutex::new(Vec::new()));
        let (counter, errors) = (Arc::clone(&accepted), Arc::clone(&wrong));
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let (script, errors) = (Arc::clone(&script), Arc::clone(&errors));
                std::thread::spawn(move || {
                    let mut peer = Peer { stream, number };
                    if catch_unwind(AssertUnwindSafe(|| script(&mut peer))).is_err() {
                        errors.lock().unwrap().push(format!("the script of {number} failed"));
                    }
                });
            }
        });
        Upstream { port, accepted, wrong }
    }

    /// How many connections have come.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(*self.wrong.lock().unwrap(), Vec::<String>::new());
        }
    }
}

impl Peer {
    /// A connection that a test has accepted itself.
    pub fn over(stream: TcpStream) -> Peer {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer { stream, number: 0 }
    }

    /// Reads a request's head; `None` when the gateway has closed instead.
    pub fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => {
                    assert!(head.is_empty(), "closed within a request's head");
                    return None;
                }
            }
        }
        Some(String::from_utf8(head).unwrap())
    }

    /// Reads a request with its body; `None` when the gateway has closed instead.
    pub fn request(&mut self) -> Option<(String, Vec<u8>)> {
        let head = self.head()?;
        let body = self.body(&head);
        Some((head, body))
    }

    /// Reads the body of a request with this head.
    pub fn body(&mut self, head: &str) -> Vec<u8> {
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.expect("a length").parse().unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        body
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends to a gateway that may have closed; false when it has.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends these bytes and waits a little; false when the gateway has closed.
    pub fn still_takes(&mut self, bytes: &[u8]) -> bool {
        // What is sent again and again needs its pace: nothing else is waited for.
        std::thread::sleep(std::time::Duration::from_millis(20));
        self.stream.write_all(bytes).is_ok()
    }

    /// Answers every request with the same bytes until the gateway closes.
    pub fn answer_all(&mut self, bytes: &[u8]) {
        while self.request().is_some() {
            self.send(bytes);
        }
    }

    /// Answers one request through TLS; a handshake that fails is the gateway's affair. Returns
    /// whether an earlier session was resumed.
    pub fn answer_tls(&mut self, config: Arc<rustls::ServerConfig>, bytes: &[u8]) -> bool {
        let mut tls = rustls::ServerConnection::new(config).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut self.stream);
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\"x\"}]}") {
            match stream.read(&mut byte) {
                Ok(1) => request.push(byte[0]),
                _ => return false,
            }
        }
        stream.write_all(bytes).unwrap();
        tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// Reads one request through TLS and answers it; `None` when the handshake fails.
    pub fn request_tls(
        &mut self,
        config: Arc<rustls::ServerConfig>,
        bytes: &[u8],
    ) -> Option<(String, Vec<u8>)> {
        let mut tls = rustls::ServerConnection::new(config).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut self.stream);
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
        });
        let mut body = vec![0; length.expect("a length")];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(bytes).unwrap();
        Some((head, body))
    }

    /// Sends `piece` up to `count` times, until the gateway takes no more for half a second;
    /// returns how many bytes it took.
    pub fn send_until_full(&mut self, piece: &[u8], count: usize) -> usize {
        self.stream.set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        let mut sent = 0;
        for _ in 0..count {
            let mut left = piece;
            while !left.is_empty() {
                match self.stream.write(left) {
                    Ok(taken) => (left, sent) = (&left[taken..], sent + taken),
                    Err(_) => return sent,
                }
            }
        }
        sent
    }

    /// Waits until the gateway has closed or reset.
    pub fn expect_gone(&mut self) {
        assert_eq!(self.drain(), 0, "the gateway has not closed");
    }

    /// Reads until the gateway closes or resets; returns how many bytes came.
    pub fn drain(&mut self) -> usize {
        let mut count = 0;
        let mut piece = [0; 4096];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return count,
                Ok(got) => count += got,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return count,
                Err(error) => panic!("the gateway has not closed: {error}"),
            }
        }
    }

    /// Has the close be a reset.
    pub fn reset_on_close(&mut self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the option is a linger, alive during the call.
        let done = unsafe {
            libc::setsockopt(
                self.stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as u32,
            )
        };
        assert_eq!(done, 0);
    }
}

/// Fills the queue of a listener that is never accepted from: later connections hang.
pub fn accept_nothing(listener: &TcpListener) {
    // SAFETY: listen takes no pointer; a second call only changes the length of the queue.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    loop {
        let wait = std::time::Duration::from_millis(300);
        match TcpStream::connect_timeout(&address, wait) {
            // It stays open as long as this process.
            Ok(stream) => std::mem::forget(stream),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
                return;
            }
        }
    }
}

/// A gateway in this process.
pub struct Gateway {
    pub server: Server,
}

impl Gateway {
    /// With the upstream as provider `up`; `keys` are further lines of its table and tables after.
    pub fn before(upstream: &Upstream, keys: &str) -> Gateway {
        Gateway::with(&provider("up", upstream.port, keys))
    }

    /// With this configuration, one worker and a port of its own.
    pub fn with(text: &str) -> Gateway {
        Gateway::build(text, 1, &[])
    }

    /// The same with so many workers.
    pub fn with_workers(text: &str, workers: usize) -> Gateway {
        Gateway::build(text, workers, &[])
    }

    /// The same where these variables are set.
    pub fn in_environment(text: &str, variables: &[(&str, &str)]) -> Gateway {
        Gateway::build(text, 1, variables)
    }

    fn build(text: &str, workers: usize, variables: &[(&str, &str)]) -> Gateway {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = variables.iter().map(owned).collect();
        let sets = vec![("server.workers".to_owned(), workers.to_string())];
        let listen = Some("127.0.0.1:0".to_owned());
        let sources = Sources { text: Some(text), sets, listen, environment, ..Sources::default() };
        let loaded = Origin::sources(&sources).load();
        let (config, source) = loaded.unwrap_or_else(|error| panic!("{error}"));
        let setup = Setup { source: Some(source), ..Setup::default() };
        let server = Server::new(config, setup).unwrap();
        server.start().unwrap();
        Gateway { server }
    }

    /// What /stats says of the optimizer.
    pub fn optimizer(&self) -> serde_json::Value {
        let stats: serde_json::Value = serde_json::from_str(&self.server.stats_json()).unwrap();
        stats["optimizer"].clone()
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.server.port())
    }

    /// A number of /stats below `calls`.
    pub fn calls(&self, name: &str) -> u64 {
        let stats: serde_json::Value = serde_json::from_str(&self.server.stats_json()).unwrap();
        let calls = find(&stats, "calls").unwrap_or_else(|| panic!("no calls in {stats}"));
        calls[name].as_u64().unwrap()
    }

    /// A number of /stats below `cache`.
    pub fn cache(&self, name: &str) -> u64 {
        let stats: serde_json::Value = serde_json::from_str(&self.server.stats_json()).unwrap();
        stats["cache"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {stats}"))
    }

    /// A number of /stats below `guard`, by side and what names it there.
    pub fn guard(&self, side: &str, path: &[&str]) -> u64 {
        let stats: serde_json::Value = serde_json::from_str(&self.server.stats_json()).unwrap();
        let found = path.iter().fold(&stats["guard"][side], |value, name| &value[*name]);
        found.as_u64().unwrap_or_else(|| panic!("no {path:?} in {stats}"))
    }

    /// A number of /stats itself.
    pub fn number(&self, name: &str) -> u64 {
        let stats: serde_json::Value = serde_json::from_str(&self.server.stats_json()).unwrap();
        stats[name].as_u64().unwrap_or_else(|| panic!("no {name} in {stats}"))
    }

    /// Waits until so many calls were cancelled.
    pub fn wait_cancelled(&self, count: u64) {
        wait_until("the call counts as cancelled", || self.calls("cancelled") == count);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.server.shutdown();
    }
}

fn find<'a>(value: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    let object = value.as_object()?;
    object.get(name).or_else(|| object.values().find_map(|inner| find(inner, name)))
}

/// The table of a provider on a port of this machine.
pub fn provider(name: &str, port: u16, keys: &str) -> String {
    format!(
        "[[provider]]\nname = \"{name}\"\nkind = \"openai\"\n\
         base_url = \"http://127.0.0.1:{port}/v1\"\napi_key = \"sk-ours\"\n{keys}\n"
    )
}
