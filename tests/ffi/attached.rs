//! A server inside the host's own loop.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ptr::null_mut;
use std::sync::Mutex;

use neurohttp::ffi::*;

use crate::support::*;

fn attach(host: &Host) -> i32 {
    let mut fd = -1;
    assert_eq!(unsafe { nh_server_attach(host.server, &mut fd) }, NH_OK, "{}", last_message());
    assert!(fd >= 0);
    fd
}

/// Waits for the descriptor, at most `timeout_ms`.
fn readable(fd: i32, timeout_ms: i32) -> bool {
    let mut watched = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    unsafe { libc::poll(&mut watched, 1, timeout_ms) == 1 }
}

/// Polls as a host's loop does until `done`.
fn drive(host: &Host, fd: i32, done: impl Fn() -> bool) {
    until("the attached server", || {
        if readable(fd, 50) {
            assert_eq!(unsafe { nh_server_poll(host.server, 0, null_mut()) }, NH_OK);
        }
        done()
    });
}

fn ask(port: u16, path: &'static str) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(client, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    })
}

#[test]
fn the_host_drives_the_loop_and_handlers_run_on_its_thread() {
    let host = Host::new("");
    let own = std::thread::current().id();
    let server = Mutex::new(Sendable(host.server));
    host.route("GET", "/here", 0, move |_, response| unsafe {
        assert_eq!(std::thread::current().id(), own);
        let server = server.lock().unwrap().0;
        // Neither waiting for itself nor turning within a turn is possible.
        let told = [nh_server_wait(server, 0), nh_server_poll(server, 0, null_mut())];
        send(response, &format!("{told:?}"))
    });
    host.route("GET", "/pool", NH_ROUTE_BLOCKING, move |_, response| {
        assert_ne!(std::thread::current().id(), own);
        send(response, "from the pool")
    });
    let fd = attach(&host);
    for (path, body) in [("/here", "[-5, -5]"), ("/pool", "from the pool")] {
        let answer = ask(host.port(), path);
        drive(&host, fd, || answer.is_finished());
        assert_eq!(answer.join().unwrap(), body);
    }
    unsafe {
        assert_eq!(nh_server_start(host.server), NH_ERR_STATE);
        assert_eq!(nh_server_wait(host.server, 0), NH_ERR_STATE, "it is not drained");
        nh_server_stop(host.server);
        assert!(readable(fd, 20_000), "a stop makes it readable");
        until("the drain", || nh_server_poll(host.server, 0, null_mut()) == NH_ERR_CLOSED);
        assert_eq!(nh_server_poll(host.server, 0, null_mut()), NH_ERR_CLOSED);
        assert_eq!(nh_server_wait(host.server, 0), NH_OK);
    }
}

#[test]
fn an_idle_poll_handles_nothing_and_a_busy_one_tells_how_much() {
    let host = Host::new("");
    host.route("GET", "/", 0, |_, response| send(response, "x"));
    attach(&host);
    let mut handled = 99;
    assert_eq!(unsafe { nh_server_poll(host.server, 0, &mut handled) }, NH_OK);
    assert_eq!(handled, 0);
    let answer = ask(host.port(), "/");
    let mut total = 0;
    while !answer.is_finished() {
        assert_eq!(unsafe { nh_server_poll(host.server, 100, &mut handled) }, NH_OK);
        total += handled;
    }
    assert!(total > 0);
    assert_eq!(answer.join().unwrap(), "x");
}

#[test]
fn what_is_not_attached_cannot_be_polled() {
    let host = Host::new("");
    unsafe {
        let mut handled = 99;
        assert_eq!(nh_server_poll(host.server, 0, &mut handled), NH_ERR_STATE);
        assert_eq!(nh_server_poll(null_mut(), 0, &mut handled), NH_ERR_INVALID_ARGUMENT);
        assert_eq!(nh_server_attach(host.server, null_mut()), NH_ERR_INVALID_ARGUMENT);
        assert_eq!(nh_server_attach(null_mut(), &mut 0), NH_ERR_INVALID_ARGUMENT);
        host.start();
        assert_eq!(nh_server_poll(host.server, 0, &mut handled), NH_ERR_STATE);
        assert_eq!(nh_server_attach(host.server, &mut 0), NH_ERR_STATE);
        assert_eq!(handled, 99);
    }
}

#[test]
fn an_attached_server_is_freed_between_polls_but_not_inside_one() {
    let host = Host::new("");
    let server = Mutex::new(Sendable(host.server));
    host.route("GET", "/free", 0, move |_, response| unsafe {
        nh_server_free(server.lock().unwrap().0);
        send(response, &last_message())
    });
    let fd = attach(&host);
    let answer = ask(host.port(), "/free");
    until("the answer", || {
        if readable(fd, 50) {
            unsafe { nh_server_poll(host.server, 0, null_mut()) };
        }
        answer.is_finished()
    });
    assert!(answer.join().unwrap().contains("told to stop"));
    let lines = std::sync::Arc::clone(&host.lines);
    drop(host);
    assert_eq!(std::sync::Arc::strong_count(&lines), 1, "it was freed whole");
}
