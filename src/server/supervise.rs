//! A worker that panics is a bug of ours, or of a callback that nothing guards. Its connections are
//! lost; the server is not: another worker takes its place, unless that happens again and again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::core::Core;
use super::worker::Worker;
use crate::base::error::{Error, ErrorKind};
use crate::base::limits;
use crate::sys::clock;

/// Runs a worker and its successors until the server is stopped and drained.
pub(super) fn run(core: &Arc<Core>, mut worker: Worker) {
    let mut panics: Vec<u64> = Vec::new();
    while turn(|| worker.run()).is_err() {
        let now_ms = clock::monotonic_us() / 1_000;
        panics.retain(|at_ms| now_ms - at_ms < limits::WORKER_PANICS_MS);
        panics.push(now_ms);
        // Also when another one is not made: dropping the old one may run callbacks.
        let successor = turn(|| worker.successor());
        worker = match successor {
            Ok(Ok(worker)) if panics.len() <= limits::WORKER_PANICS_MAX => worker,
            other => {
                let reason = match other {
                    Ok(Ok(_)) => "it panics again and again".to_owned(),
                    Ok(Err(error)) => error.to_string(),
                    Err(()) => "what it held cannot be let go".to_owned(),
                };
                tracing::error!("a worker cannot go on, so the server stops: {reason}");
                core.cut_broken();
                return;
            }
        };
        tracing::error!("a worker panicked: its connections are closed, another one goes on");
    }
}

/// Runs `body`; a panic, which has been printed, becomes an error.
pub(super) fn turn<R>(body: impl FnOnce() -> R) -> Result<R, ()> {
    catch_unwind(AssertUnwindSafe(body)).map_err(drop)
}

/// What waiting for a server that stopped for this returns.
pub(super) fn broken() -> Error {
    Error::new(ErrorKind::Panic, "a worker could not go on, so the server has stopped")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::config::{self, Sources};
    use crate::server::client::Client;
    use crate::server::mailbox::Message;
    use crate::server::{Server, Setup};

    fn server() -> Server {
        let listen = Some("127.0.0.1:0".to_owned());
        let sets = vec![("server.workers".to_owned(), "1".to_owned())];
        let sources = Sources { sets, listen, ..Sources::default() };
        Server::new(config::load(&sources).unwrap(), Setup::default()).unwrap()
    }

    fn connect(server: &Server) -> TcpStream {
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }

    fn is_served(server: &Server) -> bool {
        let mut client = connect(server);
        client.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text.starts_with("HTTP/1.1 200")
    }

    fn panic(server: &Server) {
        assert!(server.core.workers[0].mailbox.post(Message::Panic));
    }

    #[test]
    fn a_worker_that_panics_loses_its_connections_and_is_replaced() {
        let server = server();
        server.start().unwrap();
        let mut open = connect(&server);
        open.write_all(b"GET /hea").unwrap();
        assert!(is_served(&server));
        panic(&server);
        // A close with bytes unread is a reset.
        assert!(!matches!(open.read(&mut [0; 8]), Ok(1..)), "the connection is closed");
        assert!(is_served(&server));
        let reply = Client::of(&server).prompt(None, "still here").unwrap();
        assert_eq!(reply.text, "still here");
        server.stop();
        assert_eq!(server.wait(Some(Duration::from_secs(20))), Ok(()));
    }

    /// An upstream of one request after the other: the first is never answered.
    fn upstream() -> (u16, std::thread::JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let (mut silent, _) = listener.accept().unwrap();
            // Until its worker is gone.
            let _ = std::io::copy(&mut silent, &mut std::io::sink());
            let (mut good, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"]}") {
                let mut piece = [0; 4096];
                let count = good.read(&mut piece).unwrap();
                assert_ne!(count, 0);
                asked.extend_from_slice(&piece[..count]);
            }
            let body = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":
                [{"index":0,"message":{"role":"assistant","content":"made anew"},
                "finish_reason":"stop"}]}"#;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
            good.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
        });
        (port, thread)
    }

    /// Wrong: who shares an answer that a worker was making when it panicked waits for ever, or
    /// nobody can ask the same again.
    #[test]
    fn who_shares_an_answer_of_a_worker_that_panics_is_told() {
        let (port, upstream) = upstream();
        let text = format!(
            "[[provider]]\nname = \"up\"\nkind = \"openai\"\napi_key = \"k\"\n\
             base_url = \"http://127.0.0.1:{port}/v1\"\n"
        );
        let ask = br#"{"model":"up/m","temperature":0,"messages":[{"role":"user","content":"x"}]}"#;
        let sets = vec![("server.workers".to_owned(), "2".to_owned())];
        let listen = Some("127.0.0.1:0".to_owned());
        let sources = Sources { text: Some(&text), sets, listen, ..Sources::default() };
        let server = Server::new(config::load(&sources).unwrap(), Setup::default()).unwrap();
        server.start().unwrap();
        let client = Client::of(&server);
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..5).map(|_| scope.spawn(|| client.chat(ask))).collect();
            let coalesced = || {
                let stats: serde_json::Value = serde_json::from_str(&server.stats_json()).unwrap();
                stats["cache"]["coalesced"].as_u64()
            };
            let began = std::time::Instant::now();
            let leader = || server.core.workers.iter().find(|it| it.stats.calls.get() == 1);
            while coalesced() != Some(4) || leader().is_none() {
                assert!(began.elapsed() < Duration::from_secs(20), "they do not share it");
                std::thread::yield_now();
            }
            assert!(leader().unwrap().mailbox.post(Message::Panic));
            for call in waiting {
                let told = call.join().unwrap().unwrap_err();
                assert_eq!(told.kind, ErrorKind::Upstream, "{told:?}");
            }
        });
        assert_eq!(client.chat(ask).unwrap().text, "made anew");
        upstream.join().unwrap();
    }

    #[test]
    fn a_worker_that_panics_again_and_again_stops_the_server() {
        let server = server();
        server.start().unwrap();
        for _ in 0..=limits::WORKER_PANICS_MAX {
            panic(&server);
        }
        let ended = server.wait(Some(Duration::from_secs(20))).unwrap_err();
        assert_eq!(ended.kind, ErrorKind::Panic);
        let called = Client::of(&server).prompt(None, "x").unwrap_err();
        assert_eq!(called.kind, ErrorKind::Closed);
    }

    #[test]
    fn an_attached_loop_that_panics_ends_its_server() {
        let server = server();
        server.attach().unwrap();
        panic(&server);
        let second = Some(Duration::from_secs(1));
        assert_eq!(server.poll(second).unwrap_err().kind, ErrorKind::Panic);
        assert!(!crate::server::on_loop_thread());
        assert_eq!(server.poll(second).unwrap_err().kind, ErrorKind::Closed);
        assert_eq!(server.wait(second).unwrap_err().kind, ErrorKind::Panic);
    }
}
