//! Streamed answers and their back-pressure.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use neurohttp::ffi::*;

use crate::later::reset;
use crate::support::*;

/// A server whose handler streams everything and hands the streams over.
fn streaming() -> (Host, Receiver<Sendable<nh_stream>>) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let host = Host::with(0, move |_, response| unsafe {
        let mut stream = null_mut();
        nh_response_header(response, c"Content-Type".as_ptr(), c"text/event-stream".as_ptr());
        assert_eq!(nh_response_stream(response, &mut stream), NH_OK);
        let mut second = null_mut();
        assert_eq!(nh_response_stream(response, &mut second), NH_ERR_STATE);
        assert_eq!(nh_response_status(response, 201), NH_ERR_STATE);
        assert_eq!(nh_stream_wait(stream, 0), NH_ERR_STATE);
        sender.lock().unwrap().send(Sendable(stream)).unwrap();
        NH_ERR_IO // ignored after a stream has begun
    });
    (host, receiver)
}

fn begin(host: &Host, receiver: &Receiver<Sendable<nh_stream>>) -> (TcpStream, *mut nh_stream) {
    let mut client = host.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    (client, receiver.recv_timeout(PATIENCE).unwrap().get())
}

fn write(stream: *mut nh_stream, data: &[u8]) -> nh_status {
    unsafe { nh_stream_write(stream, data.as_ptr().cast(), data.len()) }
}

/// Writes until the queue and the kernel's buffers are full; returns how often it went.
fn fill(stream: *mut nh_stream, piece: &[u8]) -> usize {
    let mut count = 0;
    loop {
        match write(stream, piece) {
            NH_OK => count += 1,
            NH_ERR_WOULD_BLOCK => return count,
            other => panic!("{other}"),
        }
    }
}

/// Fills it until it stays full although the loop has had time to send.
fn stuff(stream: *mut nh_stream, piece: &[u8]) -> usize {
    let mut count = fill(stream, piece);
    while unsafe { nh_stream_wait(stream, 200) } == NH_OK {
        count += fill(stream, piece);
    }
    count
}

#[test]
fn writes_and_events_reach_the_client_in_order() {
    let (host, receiver) = streaming();
    let (mut client, stream) = begin(&host, &receiver);
    let event = |name: *const _, data: &str| unsafe {
        nh_stream_event(stream, name, data.as_ptr().cast(), data.len())
    };
    assert_eq!(write(stream, b": hello\n\n"), NH_OK);
    assert_eq!(write(stream, b""), NH_OK);
    assert_eq!(event(NO_TEXT, "one"), NH_OK);
    assert_eq!(event(c"two".as_ptr(), "a\nb"), NH_OK);
    for name in [c"a\nb", c"a\rb", c"\xff"] {
        assert_eq!(event(name.as_ptr(), "x"), NH_ERR_INVALID_ARGUMENT);
    }
    let broken = unsafe { nh_stream_event(stream, NO_TEXT, c"\xff".as_ptr(), 1) };
    assert_eq!(broken, NH_ERR_INVALID_ARGUMENT);
    unsafe { nh_stream_end(stream) };
    let answer = Answer::read(&mut client);
    let expected = ": hello\n\ndata: one\n\nevent: two\ndata: a\ndata: b\n\n";
    assert_eq!((answer.status, answer.body.as_str(), answer.is_whole), (200, expected, true));
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
}

#[test]
fn an_aborted_stream_does_not_look_complete() {
    let (host, receiver) = streaming();
    let (mut client, stream) = begin(&host, &receiver);
    assert_eq!(write(stream, b"half"), NH_OK);
    let mut head = [0; 1];
    client.read_exact(&mut head).unwrap();
    unsafe { nh_stream_abort(stream) };
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(!rest.ends_with(b"0\r\n\r\n"));
}

#[test]
fn a_slow_client_is_waited_for() {
    let (host, receiver) = streaming();
    let (mut client, stream) = begin(&host, &receiver);
    let piece = vec![b'x'; 64 * 1024];
    let too_large = vec![b'x'; 4 * 1024 * 1024];
    assert_eq!(write(stream, &too_large), NH_ERR_LIMIT);
    let before = stuff(stream, &piece);
    assert_eq!(unsafe { nh_stream_wait(stream, 0) }, NH_ERR_TIMEOUT);
    let reader = std::thread::spawn(move || Answer::read(&mut client));
    let mut count = before;
    while count < before + 20 {
        assert_eq!(unsafe { nh_stream_wait(stream, 10_000) }, NH_OK);
        count += fill(stream, &piece).max(1) - 1;
        count += 1;
    }
    unsafe { nh_stream_end(stream) };
    let answer = reader.join().unwrap();
    assert!(answer.is_whole);
    assert_eq!(answer.body.len() % piece.len(), 0);
    assert!(answer.body.len() >= before * piece.len());
}

#[test]
fn ready_is_called_once_per_refusal_and_may_end_the_stream() {
    let (host, receiver) = streaming();
    let (mut client, stream) = begin(&host, &receiver);
    let piece = vec![b'x'; 16 * 1024];
    let calls = Arc::new(AtomicUsize::new(0));
    let alive = Arc::new(());
    let (counted, kept, wrote) = (Arc::clone(&calls), Arc::clone(&alive), piece.clone());
    let (ready, data, drop) = ready_parts(move |stream, status| {
        let _kept = &kept;
        assert_eq!(status, NH_OK);
        assert_eq!(unsafe { nh_stream_wait(stream, 0) }, NH_ERR_STATE);
        if counted.fetch_add(1, Ordering::SeqCst) < 5 {
            fill(stream, &wrote);
        } else {
            assert_eq!(write(stream, b"last"), NH_OK);
            unsafe { nh_stream_end(stream) };
        }
    });
    // A refusal before the registration counts.
    fill(stream, &piece);
    assert_eq!(unsafe { nh_stream_on_ready(stream, ready, data, drop) }, NH_OK);
    let answer = Answer::read(&mut client);
    assert!(answer.is_whole && answer.body.ends_with("last"));
    assert_eq!(calls.load(Ordering::SeqCst), 6);
    until("the callback's data to be freed", || Arc::strong_count(&alive) == 1);
}

#[test]
fn registering_again_replaces_and_frees() {
    let (host, receiver) = streaming();
    let (client, stream) = begin(&host, &receiver);
    let (first, second) = (Arc::new(()), Arc::new(()));
    let (told, tell) = channel();
    let told = Mutex::new(told);
    let kept = Arc::clone(&first);
    let (ready, data, drop) = ready_parts(move |_, _| {
        let _kept = &kept;
        panic!("it was replaced");
    });
    assert_eq!(unsafe { nh_stream_on_ready(stream, ready, data, drop) }, NH_OK);
    let kept = Arc::clone(&second);
    let (ready, data, drop) = ready_parts(move |stream, status| {
        let _kept = &kept;
        assert_eq!(write(stream, b"x"), NH_ERR_CLOSED);
        told.lock().unwrap().send(status).unwrap();
    });
    assert_eq!(unsafe { nh_stream_on_ready(stream, ready, data, drop) }, NH_OK);
    assert_eq!(Arc::strong_count(&first), 1);
    reset(client);
    assert_eq!(tell.recv_timeout(PATIENCE), Ok(NH_ERR_CLOSED));
    // Nobody listens any more: a registration fails and frees its data.
    let third = Arc::new(());
    let kept = Arc::clone(&third);
    let (ready, data, drop) = ready_parts(move |_, _| {
        let _kept = &kept;
    });
    assert_eq!(unsafe { nh_stream_on_ready(stream, ready, data, drop) }, NH_ERR_CLOSED);
    assert_eq!(Arc::strong_count(&third), 1);
    assert_eq!(write(stream, b"x"), NH_ERR_CLOSED);
    assert_eq!(unsafe { nh_stream_wait(stream, -1) }, NH_ERR_CLOSED);
    assert_eq!(Arc::strong_count(&second), 2, "freed when the stream is ended");
    unsafe { nh_stream_end(stream) };
    until("the callback's data to be freed", || Arc::strong_count(&second) == 1);
}

#[test]
fn the_handle_is_valid_inside_ready_whoever_ends_it() {
    let (host, receiver) = streaming();
    let (mut client, stream) = begin(&host, &receiver);
    let (entered, enter) = channel();
    let (leave, left) = channel::<()>();
    let (entered, left) = (Mutex::new(entered), Mutex::new(left));
    let alive = Arc::new(());
    let kept = Arc::clone(&alive);
    let (ready, data, drop) = ready_parts(move |stream, _| {
        let _kept = &kept;
        entered.lock().unwrap().send(()).unwrap();
        left.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        // It was ended meanwhile.
        assert_eq!(write(stream, b"x"), NH_ERR_CLOSED);
        unsafe { nh_stream_end(stream) };
        entered.lock().unwrap().send(()).unwrap();
    });
    assert_eq!(unsafe { nh_stream_on_ready(stream, ready, data, drop) }, NH_OK);
    fill(stream, &[b'x'; 16 * 1024]);
    let reader = std::thread::spawn(move || Answer::read(&mut client).is_whole);
    enter.recv_timeout(PATIENCE).unwrap();
    unsafe { nh_stream_end(stream) };
    assert_eq!(Arc::strong_count(&alive), 2, "freed only after its last call");
    leave.send(()).unwrap();
    enter.recv_timeout(PATIENCE).unwrap();
    assert!(reader.join().unwrap());
    until("the callback's data to be freed", || Arc::strong_count(&alive) == 1);
}

#[test]
fn a_stream_outlives_its_server() {
    let (host, receiver) = streaming();
    let (_client, stream) = begin(&host, &receiver);
    assert_eq!(write(stream, b"x"), NH_OK);
    drop(host);
    assert_eq!(write(stream, b"x"), NH_ERR_CLOSED);
    assert_eq!(unsafe { nh_stream_wait(stream, -1) }, NH_ERR_CLOSED);
    unsafe { nh_stream_abort(stream) };
}
