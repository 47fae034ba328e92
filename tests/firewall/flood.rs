//! A flood from very many addresses, and a client that is let in meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::process::Server;

/// Requests of each address, on one connection.
const EACH: usize = 10;
/// Below this a p99 says more of the machine than of the server.
const P99_FLOOR: Duration = Duration::from_millis(2);

/// A connection whose own address is the `number`th of 127.0.0.0/8, from 127.1.0.0 on.
fn from_address(number: u32, port: u16) -> TcpStream {
    let address = |ip: u32, port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: ip.to_be() },
        sin_zero: [0; 8],
    };
    let len = size_of::<libc::sockaddr_in>() as u32;
    let (own, peer) = (address(0x7f01_0000 + number, 0), address(0x7f00_0001, port));
    // SAFETY: socket takes no pointer; the descriptor is new and nobody else's.
    let socket = unsafe {
        let raw = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(raw >= 0);
        OwnedFd::from_raw_fd(raw)
    };
    let raw = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: both addresses are sockaddr_in, alive during the calls.
    let done = unsafe {
        libc::bind(raw, (&raw const own).cast(), len)
            | libc::connect(raw, (&raw const peer).cast(), len)
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    TcpStream::from(socket)
}

/// Ten requests in one write; how many were answered 200 and 429.
fn ask(number: u32, port: u16) -> (usize, usize) {
    let mut stream = from_address(number, port);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(EACH);
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = Vec::new();
    // A server that closes early resets: what has come counts.
    let _ = stream.read_to_end(&mut answers);
    let count = |status: &[u8]| memchr::memmem::find_iter(&answers, status).count();
    (count(b"HTTP/1.1 200"), count(b"HTTP/1.1 429"))
}

/// The p99 of requests on one connection until `done`, at least so many.
fn p99(server: &Server, done: &AtomicBool, least: usize) -> Duration {
    let mut connection = server.connect();
    let mut times = Vec::new();
    while times.len() < least || !done.load(Ordering::Relaxed) {
        let began = Instant::now();
        assert_eq!(connection.get("/health").answer().status, 200);
        times.push(began.elapsed());
        // Its pace, not a wait for anything.
        std::thread::sleep(Duration::from_micros(500));
    }
    times.sort();
    times[times.len() * 99 / 100]
}

/// Wrong: a flood that shuts out who is let in, or grows the memory with its addresses.
/// `NH_FLOOD=full` sends 100,000 requests from 10,000 addresses.
#[test]
fn a_flood_of_addresses_leaves_an_allowed_client_its_answers() {
    let is_full = std::env::var_os("NH_FLOOD").is_some_and(|word| word == "full");
    let addresses: u32 = if is_full { 10_000 } else { 1_000 };
    let server = Server::gateway(&[
        "firewall.allow=[\"127.0.0.1\"]",
        "firewall.requests_per_minute=60",
        "firewall.burst=3",
        "server.workers=1",
    ]);
    let quiet = p99(&server, &AtomicBool::new(true), 1_000);
    let (done, port) = (AtomicBool::new(false), server.port);
    let (flooded, passed, limited) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut sums = (0, 0);
            for number in 0..addresses {
                let (passed, limited) = ask(number, port);
                sums = (sums.0 + passed, sums.1 + limited);
            }
            done.store(true, Ordering::Relaxed);
            sums
        });
        let flooded = p99(&server, &done, 200);
        let (passed, limited) = flood.join().unwrap();
        (flooded, passed, limited)
    });
    println!(
        "flood of {addresses} addresses: {passed} answered, {limited} limited; p99 of the allowed \
         client {flooded:?}, quiet {quiet:?}"
    );
    let all = addresses as usize * EACH;
    assert_eq!(passed, addresses as usize * 3, "each has its burst");
    assert!(limited >= all * 6 / 10, "{limited} of {all}");
    let bound = (2 * quiet).max(if is_full { P99_FLOOR } else { 10 * P99_FLOOR });
    assert!(flooded <= bound, "p99 {flooded:?} under the flood, {quiet:?} quiet");
    server.stop();
}
