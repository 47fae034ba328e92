//! Many connections that mean no good: too many of one address, never finished, reset at once.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::support::process::Server;
use crate::support::wire::Connection;

/// Connects from an address of this machine, 127.0.0.0/8.
fn connect_from(source: Ipv4Addr, port: u16) -> TcpStream {
    let raw = |address: Ipv4Addr, port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: both addresses are valid for `size`; the descriptor is new and nobody else's.
    unsafe {
        let fd = OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0));
        let from = raw(source, 0);
        assert_eq!(libc::bind(fd.as_raw_fd(), (&raw const from).cast(), size), 0);
        let to = raw(Ipv4Addr::LOCALHOST, port);
        assert_eq!(libc::connect(fd.as_raw_fd(), (&raw const to).cast(), size), 0);
        TcpStream::from(fd)
    }
}

fn is_served(mut connection: Connection) -> bool {
    let _ = connection.try_send("GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    connection.rest().starts_with(b"HTTP/1.1 200 ")
}

#[test]
fn one_address_has_its_share_of_connections_and_no_more() {
    let server = Server::gateway(&["limits.connections_per_address=3", "server.workers=2"]);
    let mut first: Vec<Connection> = (0..3).map(|_| server.connect()).collect();
    for connection in &mut first {
        assert_eq!(connection.get("/health").answer().status, 200);
    }
    for _ in 0..20 {
        assert!(!is_served(server.connect()), "one too many was let in");
    }
    // Others have their own.
    for last in 2..30 {
        let stream = connect_from(Ipv4Addr::new(127, 0, 0, last), server.port);
        assert_eq!(stream.peer_addr().unwrap(), SocketAddr::from(([127, 0, 0, 1], server.port)));
        assert!(is_served(Connection::of(stream)));
    }
    for connection in &mut first {
        assert_eq!(connection.get("/health").answer().status, 200);
    }
    drop(first.pop());
    crate::support::wait_until("there is room for one", || is_served(server.connect()));
    let stats = first[0].get("/stats").answer().json();
    assert!(stats["connections"]["refused"].as_u64().unwrap() >= 20, "{stats}");
    server.stop();
}

#[test]
fn connections_that_are_reset_at_once_leave_nothing() {
    let server = Server::gateway(&["server.workers=1", "limits.connections_per_address=100"]);
    let before = server.descriptors();
    let mut probe = server.connect();
    for round in 0..2000 {
        let mut connection = server.connect();
        if round % 2 == 0 {
            let _ = connection.try_send("GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
        }
        connection.reset();
        if round % 50 == 0 {
            assert_eq!(probe.get("/health").answer().status, 200);
        }
    }
    crate::support::wait_until("the descriptors are back", || {
        assert_eq!(probe.get("/health").answer().status, 200);
        server.descriptors() <= before + 1
    });
    // None of them counts for its address any more.
    let mut many: Vec<Connection> = (0..99).map(|_| server.connect()).collect();
    for connection in &mut many {
        assert_eq!(connection.get("/health").answer().status, 200);
    }
    server.stop();
}

#[test]
fn what_never_becomes_a_request_meets_its_deadline() {
    let server = Server::gateway(&[
        "server.workers=1",
        "timeouts.header=500",
        "timeouts.body=500",
        "timeouts.idle=60000",
    ]);
    let mut probe = server.connect();
    assert_eq!(probe.get("/health").answer().status, 200);
    let mut flood: Vec<Connection> = Vec::new();
    for begin in [
        "",
        "G",
        "GET /health HTTP/1.1\r\n",
        "GET /health HTTP/1.1\r\nHost: h\r\nX: ",
        "\r\n",
        "POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
    ] {
        for _ in 0..100 {
            let mut connection = server.connect();
            connection.send(begin);
            flood.push(connection);
        }
    }
    assert_eq!(probe.get("/health").answer().status, 200, "who behaves is served meanwhile");
    for mut connection in flood {
        let rest = connection.rest();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "), "{}", rest.escape_ascii());
    }
    assert_eq!(probe.get("/health").answer().status, 200);
    server.stop();
}
