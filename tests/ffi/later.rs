//! Deferred answers.

use std::io::Write;
use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use neurohttp::ffi::*;

use crate::support::*;

/// A server whose handler defers everything and hands the answers over.
fn deferring() -> (Host, Receiver<Sendable<nh_deferred>>) {
    let (sender, receiver): (Sender<Sendable<nh_deferred>>, _) = channel();
    let sender = Mutex::new(sender);
    let host = Host::with(0, move |_, response| unsafe {
        let mut deferred = null_mut();
        nh_response_header(response, c"X-Kept".as_ptr(), c"yes".as_ptr());
        assert_eq!(nh_response_defer(response, &mut deferred), NH_OK);
        // From here on the response belongs to whoever has the handle.
        let mut second = null_mut();
        assert_eq!(nh_response_defer(response, &mut second), NH_ERR_STATE);
        assert_eq!(nh_response_status(response, 200), NH_ERR_STATE);
        assert_eq!(send(response, "too late"), NH_ERR_STATE);
        sender.lock().unwrap().send(Sendable(deferred)).unwrap();
        NH_ERR_IO // ignored after a deferral
    });
    (host, receiver)
}

fn ask(host: &Host) -> std::thread::JoinHandle<Answer> {
    let mut stream = host.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    std::thread::spawn(move || Answer::read(&mut stream))
}

fn next(receiver: &Receiver<Sendable<nh_deferred>>) -> *mut nh_deferred {
    receiver.recv_timeout(PATIENCE).unwrap().get()
}

#[test]
fn another_thread_answers() {
    let (host, receiver) = deferring();
    let answer = ask(&host);
    let deferred = next(&receiver);
    unsafe {
        assert_eq!(nh_deferred_cancelled(deferred), 0);
        // What fails on its arguments leaves the handle.
        let body = c"later".as_ptr().cast();
        let sent = nh_deferred_send(deferred, 99, NO_TEXT, body, 5);
        assert_eq!(sent, NH_ERR_INVALID_ARGUMENT);
        let sent = nh_deferred_send(deferred, 200, c"a\nb".as_ptr(), body, 5);
        assert_eq!(sent, NH_ERR_INVALID_ARGUMENT);
        let sent = nh_deferred_send(deferred, 202, c"text/plain".as_ptr(), body, usize::MAX);
        assert_eq!(sent, NH_OK);
    }
    let answer = answer.join().unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (202, "later"));
    assert_eq!(answer.header("x-kept"), Some("yes"));
}

#[test]
fn the_response_of_a_deferred_answer_is_filled_and_sent() {
    let (host, receiver) = deferring();
    let answer = ask(&host);
    let deferred = next(&receiver);
    unsafe {
        let response = nh_deferred_response(deferred);
        assert_eq!(nh_response_status(response, 203), NH_OK);
        assert_eq!(nh_response_body(response, c"made".as_ptr().cast(), 4), NH_OK);
        assert_eq!(nh_deferred_done(deferred), NH_OK);
    }
    let answer = answer.join().unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (203, "made"));
}

#[test]
fn an_answer_given_up_is_500() {
    let (host, receiver) = deferring();
    let answer = ask(&host);
    unsafe { nh_deferred_free(next(&receiver)) };
    assert_eq!(answer.join().unwrap().status, 500);
}

#[test]
fn a_stream_lives_on_when_its_deferred_answer_is_done() {
    let (host, receiver) = deferring();
    let answer = ask(&host);
    let deferred = next(&receiver);
    unsafe {
        let mut stream = null_mut();
        let response = nh_deferred_response(deferred);
        assert_eq!(nh_response_stream(response, &mut stream), NH_OK);
        let sent = nh_deferred_send(deferred, 200, NO_TEXT, c"x".as_ptr().cast(), 1);
        assert_eq!(sent, NH_ERR_STATE);
        assert_eq!(nh_deferred_done(deferred), NH_OK);
        assert_eq!(nh_stream_write(stream, c"streamed".as_ptr().cast(), 8), NH_OK);
        nh_stream_end(stream);
    }
    let answer = answer.join().unwrap();
    assert_eq!((answer.status, answer.body.as_str(), answer.is_whole), (200, "streamed", true));
}

#[test]
fn a_client_that_has_gone_is_told() {
    let (host, receiver) = deferring();
    for how in [0, 1] {
        let mut stream = host.connect();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let deferred = next(&receiver);
        // A reset tells at once; other routes answer a client that only ends its own side.
        reset(stream);
        until("the client to be missed", || unsafe { nh_deferred_cancelled(deferred) } == 1);
        let told = unsafe {
            match how {
                0 => nh_deferred_send(deferred, 200, NO_TEXT, c"x".as_ptr().cast(), 1),
                _ => nh_deferred_done(deferred),
            }
        };
        assert_eq!(told, NH_ERR_CLOSED);
    }
}

#[test]
fn a_deferred_answer_outlives_its_server() {
    let (host, receiver) = deferring();
    let _client = ask(&host);
    let deferred = next(&receiver);
    drop(host);
    unsafe {
        assert_eq!(nh_deferred_cancelled(deferred), 1);
        assert!(!nh_deferred_response(deferred).is_null());
        let sent = nh_deferred_send(deferred, 200, NO_TEXT, c"x".as_ptr().cast(), 1);
        assert_eq!(sent, NH_ERR_CLOSED);
    }
}

/// Closes a connection with a reset.
pub fn reset(stream: std::net::TcpStream) {
    use std::os::fd::AsRawFd;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of::<libc::linger>() as libc::socklen_t;
    let fd = stream.as_raw_fd();
    let option = (&raw const linger).cast();
    let set = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, option, size) };
    assert_eq!(set, 0);
}
