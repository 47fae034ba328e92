//! The life of a server: order, draining, several at once, what its callbacks may not do.

use std::io::Write;
use std::ptr::null_mut;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use neurohttp::ffi::*;

use crate::support::*;

#[test]
fn calls_out_of_order_are_told() {
    let host = Host::new("");
    let server = host.server;
    unsafe {
        assert_eq!(nh_server_port(server), 0);
        assert_eq!(nh_server_wait(server, 0), NH_ERR_STATE);
        host.start();
        assert_ne!(nh_server_port(server), 0);
        assert_eq!(nh_server_start(server), NH_ERR_STATE);
        assert_eq!(nh_server_run(server), NH_ERR_STATE);
        assert_eq!(nh_server_wait(server, 0), NH_ERR_TIMEOUT);
        nh_server_stop(server);
        nh_server_stop(server);
        assert_eq!(nh_server_wait(server, -1), NH_OK);
        assert_eq!(nh_server_wait(server, 0), NH_OK);
        assert_eq!(nh_server_start(server), NH_ERR_STATE);
    }
}

#[test]
fn a_server_stopped_before_its_start_does_not_start() {
    let host = Host::new("");
    unsafe {
        nh_server_stop(host.server);
        assert_eq!(nh_server_run(host.server), NH_ERR_STATE);
        assert_eq!(nh_server_wait(host.server, -1), NH_OK, "there is nothing to wait for");
    }
}

#[test]
fn run_returns_when_stopped_and_open_requests_are_answered() {
    let host = Host::new("");
    let (deferring, deferred) = channel();
    let deferring = Mutex::new(deferring);
    host.route("GET", "/slow", 0, move |_, response| unsafe {
        let mut answer = null_mut();
        nh_response_defer(response, &mut answer);
        deferring.lock().unwrap().send(Sendable(answer)).unwrap();
        NH_OK
    });
    let server = Sendable(host.server);
    let running = std::thread::spawn(move || unsafe { nh_server_run(server.get()) });
    until("the server to listen", || host.port() != 0);
    let mut client = host.connect();
    client.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let answer = deferred.recv_timeout(PATIENCE).unwrap().get();
    unsafe {
        let errno = libc::__errno_location();
        *errno = 1234;
        nh_server_stop(host.server);
        assert_eq!(*errno, 1234);
        assert_eq!(nh_server_wait(host.server, 50), NH_ERR_TIMEOUT, "a request is open");
        let body = c"in time".as_ptr().cast();
        assert_eq!(nh_deferred_send(answer, 200, NO_TEXT, body, 7), NH_OK);
    }
    assert_eq!(Answer::read(&mut client).body, "in time");
    assert_eq!(running.join().unwrap(), NH_OK);
}

#[test]
fn callbacks_can_neither_block_on_their_server_nor_free_it() {
    for flags in [0, NH_ROUTE_BLOCKING] {
        let host = Host::new("");
        let server = Mutex::new(Sendable(host.server));
        host.route("GET", "/wait", flags, move |_, response| unsafe {
            let server = server.lock().unwrap().0;
            let told = [nh_server_wait(server, -1), nh_server_run(server)];
            send(response, &format!("{told:?}"))
        });
        let server = Mutex::new(Sendable(host.server));
        host.route("GET", "/free", flags, move |_, response| unsafe {
            nh_server_free(server.lock().unwrap().0);
            send(response, &last_message())
        });
        host.start();
        assert_eq!(host.get("/wait").body, "[-5, -5]");
        assert!(host.get("/free").body.contains("told to stop"));
        assert_eq!(unsafe { nh_server_wait(host.server, -1) }, NH_OK);
    }
}

#[test]
fn a_loop_waits_for_no_other_server_either() {
    let other = Host::with(0, |_, response| send(response, "other"));
    let server = Mutex::new(Sendable(other.server));
    let host = Host::with(0, move |_, response| unsafe {
        let status = nh_server_wait(server.lock().unwrap().0, 0);
        send(response, &status.to_string())
    });
    assert_eq!(host.get("/").body, NH_ERR_STATE.to_string());
}

#[test]
fn two_servers_live_in_one_process() {
    let first = Host::with(0, |_, response| send(response, "first"));
    let second = Host::with(0, |_, response| send(response, "second"));
    assert_ne!(first.port(), second.port());
    assert_eq!((first.get("/").body, second.get("/").body), ("first".into(), "second".into()));
    drop(first);
    assert_eq!(second.get("/").body, "second");
}

#[test]
fn a_taken_address_is_an_error_and_another_start_may_work() {
    let first = Host::with(0, |_, response| send(response, "first"));
    let mut server = null_mut();
    unsafe {
        let listen = std::ffi::CString::new(format!("127.0.0.1:{}", first.port())).unwrap();
        let mut options: nh_server_options = std::mem::zeroed();
        nh_server_options_init(&mut options, size_of::<nh_server_options>());
        options.listen = listen.as_ptr();
        options.flags = NH_SERVER_NO_ENV;
        options.config_text = c"log.level = 'error'".as_ptr();
        assert_eq!(nh_server_new(&options, &mut server), NH_OK, "{}", last_message());
        assert_eq!(nh_server_start(server), NH_ERR_ADDRESS_IN_USE);
        drop(first);
        assert_eq!(nh_server_start(server), NH_OK, "{}", last_message());
        nh_server_free(server);
    }
}

#[test]
fn freeing_a_server_frees_what_it_was_given() {
    let alive = Arc::new(());
    let host = Host::new("");
    for path in ["/a", "/b"] {
        let kept = Arc::clone(&alive);
        host.route("GET", path, 0, move |_, _| {
            let _kept = &kept;
            NH_OK
        });
    }
    host.start();
    assert_eq!(host.get("/a").status, 204);
    let lines = Arc::clone(&host.lines);
    drop(host);
    assert_eq!((Arc::strong_count(&alive), Arc::strong_count(&lines)), (1, 1));
}

#[test]
fn freeing_waits_for_a_callback_that_runs() {
    let (entered, enter) = channel();
    let entered = Mutex::new(entered);
    let done = Arc::new(Mutex::new(false));
    let finished = Arc::clone(&done);
    let (leave, left) = channel::<()>();
    let left = Mutex::new(left);
    let host = Host::with(NH_ROUTE_BLOCKING, move |_, response| {
        entered.lock().unwrap().send(()).unwrap();
        left.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        *finished.lock().unwrap() = true;
        send(response, "late")
    });
    let mut client = host.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    enter.recv_timeout(PATIENCE).unwrap();
    let host_pointer = Sendable(Box::into_raw(Box::new(host)));
    let freeing = std::thread::spawn(move || drop(unsafe { Box::from_raw(host_pointer.get()) }));
    leave.send(()).unwrap();
    freeing.join().unwrap();
    assert!(*done.lock().unwrap());
}

#[test]
fn statistics_are_given_as_json() {
    let host = Host::with(0, |_, response| send(response, "x"));
    host.get("/");
    let (mut json, mut len) = (null_mut(), 0);
    unsafe {
        assert_eq!(nh_server_stats_json(host.server, &mut json, &mut len), NH_OK);
        let text = std::ffi::CStr::from_ptr(json).to_str().unwrap();
        assert_eq!(text.len(), len);
        assert!(serde_json::from_str::<serde_json::Value>(text).unwrap().is_object());
        nh_free(json.cast());
        assert_eq!(nh_server_stats_json(host.server, null_mut(), null_mut()), -1);
    }
}
