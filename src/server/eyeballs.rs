//! Tests of dialling: several addresses of one name (RFC 8305).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::Client;
use super::mailbox::Message;
use super::{Server, Setup};
use crate::base::error::ErrorKind;
use crate::config::{self, Sources};

const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A server whose provider is called `twin.test`, which has these addresses.
fn server(port: u16, addresses: &[Ipv4Addr]) -> Server {
    let text = format!(
        "[[provider]]\nname = \"up\"\nkind = \"openai\"\nconnect_timeout = 20000\n\
         base_url = \"http://twin.test:{port}/v1\"\n"
    );
    let listen = Some("127.0.0.1:0".to_owned());
    let sets = vec![("server.workers".to_owned(), "1".to_owned())];
    let sources = Sources { text: Some(&text), sets, listen, ..Sources::default() };
    let server = Server::new(config::load(&sources).unwrap(), Setup::default()).unwrap();
    server.start().unwrap();
    let addresses: Arc<[SocketAddr]> =
        addresses.iter().map(|address| SocketAddr::from((*address, port))).collect();
    let resolved = Message::Resolved("twin.test".to_owned(), port, Ok(addresses));
    assert!(server.core.workers[0].mailbox.post(resolved));
    server
}

/// Answers one chat request.
fn answer(listener: TcpListener) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}]}") {
            let mut piece = [0; 1024];
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0);
            request.extend_from_slice(&piece[..count]);
        }
        let body =
            r#"{"model":"m","choices":[{"message":{"content":"here"},"finish_reason":"stop"}]}"#;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    })
}

/// Fills the listener's queue: the kernel drops whoever comes later.
fn fill(listener: &TcpListener) -> Vec<TcpStream> {
    // SAFETY: listen takes no pointer; a second call only changes the length of the queue.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let wait = Duration::from_millis(300);
    std::iter::from_fn(|| TcpStream::connect_timeout(&address, wait).ok()).collect()
}

#[test]
fn a_second_address_is_tried_beside_a_slow_one_and_after_a_refusing_one() {
    let listener = TcpListener::bind((SECOND, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Refused: nobody listens on the first.
    let served = answer(listener.try_clone().unwrap());
    let reply = {
        let server = server(port, &[Ipv4Addr::LOCALHOST, SECOND]);
        Client::of(&server).prompt(Some("up/m"), "x").unwrap()
    };
    assert_eq!(reply.text, "here");
    served.join().unwrap();
    // Slow: the first never answers.
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let _waiting = fill(&first);
    let served = answer(listener);
    let begun = Instant::now();
    let server = server(port, &[Ipv4Addr::LOCALHOST, SECOND]);
    let reply = Client::of(&server).prompt(Some("up/m"), "x").unwrap();
    assert_eq!(reply.text, "here");
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited for the first address");
    served.join().unwrap();
}

#[test]
fn without_a_reachable_address_the_call_fails_at_once() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let server = server(port, &[Ipv4Addr::LOCALHOST, SECOND]);
    let error = Client::of(&server).prompt(Some("up/m"), "x").unwrap_err();
    assert_eq!((error.kind, error.http), (ErrorKind::Upstream, 502));
}
