//! Routes, requests, whole responses and middleware.

use std::ffi::{CString, c_char};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use neurohttp::ffi::*;

use crate::support::*;

#[test]
fn a_handler_sees_the_whole_request() {
    let host = Host::new("");
    host.route("POST", "/users/:id/*rest", 0, |request, response| unsafe {
        let field = |name: &std::ffi::CStr| {
            text(|len| nh_request_header(request, name.as_ptr(), len)).unwrap_or("-".into())
        };
        let query = |name: &std::ffi::CStr| {
            text(|len| nh_request_query(request, name.as_ptr(), len)).unwrap_or("-".into())
        };
        let param = |name: &std::ffi::CStr| {
            text(|len| nh_request_param(request, name.as_ptr(), len)).unwrap_or("-".into())
        };
        let mut len = 0;
        let body = nh_request_body(request, &mut len);
        let body = std::slice::from_raw_parts(body.cast::<u8>(), len + 1);
        assert_eq!(body[len], 0, "a NUL stands behind the body");
        let body = String::from_utf8_lossy(&body[..len]).into_owned();
        let told = [
            text(|len| nh_request_method(request, len)).unwrap(),
            text(|len| nh_request_path(request, len)).unwrap(),
            text(|len| nh_request_target(request, len)).unwrap(),
            param(c"id"),
            param(c"rest"),
            param(c"none"),
            query(c"q"),
            query(c"d"),
            query(c"bad"),
            query(c"none"),
            field(c"x-two"),
            field(c"COOKIE"),
            field(c"x-none"),
            text(|len| nh_request_id(request, len)).unwrap(),
            body,
        ];
        let peer = text(|len| nh_request_peer(request, len)).unwrap();
        assert!(peer.starts_with("127.0.0.1:"), "{peer}");
        send(response, &told.join("\n"))
    });
    host.start();
    let head = "POST /users/4%202/a/b/../c?q=one+two%21&q=x&d&bad=%zz HTTP/1.1\r\n\
                X-Two: 1\r\nx-two: 2\r\nCookie: a=1\r\nCookie: b=2\r\nX-Request-Id: mine-1";
    let answer = host.ask(head, "the body");
    let expected = [
        "POST",
        "/users/4 2/a/c",
        "/users/4%202/a/b/../c?q=one+two%21&q=x&d&bad=%zz",
        "4 2",
        "a/c",
        "-",
        "one two!",
        "",
        "%zz",
        "-",
        "1, 2",
        "a=1; b=2",
        "-",
        "mine-1",
        "the body",
    ];
    assert_eq!((answer.status, answer.body.as_str()), (200, expected.join("\n").as_str()));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    assert_eq!(answer.header("x-request-id"), Some("mine-1"));
}

#[test]
fn headers_are_counted_and_listed_as_received() {
    let host = Host::with(0, |request, response| unsafe {
        let count = nh_request_header_count(request);
        let mut lines = Vec::new();
        for index in 0..count {
            let (mut name, mut value) = (null(), null());
            assert_eq!(nh_request_header_at(request, index, &mut name, &mut value), NH_OK);
            let text = |pointer: *const c_char| std::ffi::CStr::from_ptr(pointer).to_str().unwrap();
            lines.push(format!("{}={}", text(name), text(value)));
            assert_eq!(nh_request_header_at(request, index, null_mut(), null_mut()), NH_OK);
        }
        let mut name = null();
        let beyond = nh_request_header_at(request, count, &mut name, null_mut());
        assert_eq!((beyond, name.is_null()), (NH_ERR_NOT_FOUND, true));
        send(response, &lines.join("|"))
    });
    let answer = host.ask("GET / HTTP/1.1\r\nX-A:  1 \r\nx-a: 2", "");
    assert_eq!(answer.body, "X-A=1|x-a=2|Host=localhost|Connection=close|Content-Length=0");
}

#[test]
fn responses_are_filled_step_by_step_and_read_back() {
    let host = Host::with(0, |_, response| unsafe {
        let name = c"X-Name".as_ptr();
        assert_eq!(nh_response_get_status(response), 0);
        assert_eq!(nh_response_header(response, name, c"1".as_ptr()), NH_OK);
        assert_eq!(nh_response_add_header(response, name, c"2".as_ptr()), NH_OK);
        assert_eq!(nh_response_header(response, c"x-NAME".as_ptr(), c"3".as_ptr()), NH_OK);
        assert_eq!(nh_response_add_header(response, name, c"4".as_ptr()), NH_OK);
        let value = text(|len| nh_response_get_header(response, name, len));
        assert_eq!(value.as_deref(), Some("3"));
        assert_eq!(text(|len| nh_response_get_header(response, c"x-b".as_ptr(), len)), None);
        assert_eq!(nh_response_body(response, c"abcdef".as_ptr().cast(), 6), NH_OK);
        assert_eq!(nh_response_get_status(response), 200);
        let mut len = 0;
        let body = nh_response_get_body(response, &mut len);
        assert_eq!(std::slice::from_raw_parts(body.cast::<u8>(), len), b"abcdef");
        // A piece of what was lent may become the body itself.
        assert_eq!(nh_response_body(response, body.byte_add(2), 3), NH_OK);
        assert_eq!(nh_response_status(response, 201), NH_OK);
        assert_eq!(nh_response_get_status(response), 201);
        NH_OK
    });
    let answer = host.get("/");
    assert_eq!((answer.status, answer.body.as_str()), (201, "cde"));
    let values: Vec<_> = answer.head.lines().filter(|line| line.starts_with("X-N")).collect();
    assert_eq!(answer.header("x-name"), Some("3"));
    assert_eq!(values, ["X-Name: 4"]);
}

#[test]
fn what_could_break_a_response_is_refused_and_changes_nothing() {
    let host = Host::with(0, |_, response| unsafe {
        let header = |name: &str, value: &str| {
            let (name, value) = (CString::new(name).unwrap(), CString::new(value).unwrap());
            nh_response_header(response, name.as_ptr(), value.as_ptr())
        };
        assert_eq!(nh_response_body(response, c"kept".as_ptr().cast(), usize::MAX), NH_OK);
        for (name, value) in [
            ("Content-Length", "1"),
            ("transfer-encoding", "chunked"),
            ("Keep-Alive", "1"),
            ("Upgrade", "h2c"),
            ("Date", "now"),
            ("", "x"),
            ("a b", "x"),
            ("a:b", "x"),
            ("x", "a\r\nb: c"),
            ("x", "a\nb"),
        ] {
            assert_eq!(header(name, value), NH_ERR_INVALID_ARGUMENT, "{name}: {value:?}");
        }
        assert_eq!(header("X-Long", &"a".repeat(65_000)), NH_OK);
        assert_eq!(header("X-Longer", &"a".repeat(65_000)), NH_ERR_LIMIT);
        for status in [-1, 0, 100, 199, 600, i32::MAX] {
            assert_eq!(nh_response_status(response, status), NH_ERR_INVALID_ARGUMENT);
            let sent = nh_response_send(response, status, NO_TEXT, null(), 0);
            assert_eq!(sent, NH_ERR_INVALID_ARGUMENT);
        }
        let bad_type = c"a\nb".as_ptr();
        let sent = nh_response_send(response, 201, bad_type, c"new".as_ptr().cast(), 3);
        assert_eq!(sent, NH_ERR_INVALID_ARGUMENT);
        let sent = nh_response_send(response, 201, NO_TEXT, null(), 3);
        assert_eq!(sent, NH_ERR_INVALID_ARGUMENT);
        NH_OK
    });
    let answer = host.get("/");
    assert_eq!((answer.status, answer.body.as_str()), (200, "kept"));
    assert_eq!(answer.header("content-type"), None);
}

#[test]
fn what_a_handler_returns_decides() {
    let host = Host::new("");
    host.route("GET", "/nothing", 0, |_, _| NH_OK);
    host.route("GET", "/fails", 0, |_, response| {
        send(response, "half an answer");
        NH_ERR_LIMIT
    });
    host.route("GET", "/tells", NH_ROUTE_BLOCKING, |_, response| unsafe {
        nh_response_status(response, 7)
    });
    host.route("GET", "/odd", 0, |_, _| 42);
    host.start();
    let nothing = host.get("/nothing");
    assert_eq!((nothing.status, nothing.body.as_str()), (204, ""));
    for path in ["/fails", "/tells", "/odd"] {
        let answer = host.get(path);
        assert_eq!(answer.status, 500, "{path}");
        assert!(answer.body.contains("\"error\"") && !answer.body.contains("half"));
    }
    assert!(host.logged(&["-10 (NH_ERR_LIMIT)"]));
    assert!(host.logged(&["-1 (NH_ERR_INVALID_ARGUMENT)", "7 is no status"]));
    assert!(host.logged(&["42 (unknown)"]));
}

#[test]
fn a_handler_that_panics_is_answered_with_500_and_the_server_lives() {
    let host = Host::new("");
    host.route("GET", "/inline", 0, |_, _| panic!("on purpose, inline"));
    host.route("GET", "/pool", NH_ROUTE_BLOCKING, |_, _| panic!("on purpose, on the pool"));
    host.route("GET", "/well", 0, |_, response| send(response, "well"));
    host.start();
    for path in ["/inline", "/pool", "/inline"] {
        assert_eq!(host.get(path).status, 500, "{path}");
        assert_eq!(host.get("/well").body, "well");
    }
}

#[test]
fn blocking_routes_run_on_the_pool_and_others_on_a_loop() {
    let host = Host::new("");
    let name = || std::thread::current().name().unwrap_or_default().to_owned();
    host.route("GET", "/inline", 0, move |_, response| send(response, &name()));
    host.route("GET", "/pool", NH_ROUTE_BLOCKING, move |_, response| send(response, &name()));
    host.start();
    assert_ne!(host.get("/inline").body, host.get("/pool").body);
}

#[test]
fn routes_come_and_go_while_serving_and_free_their_data() {
    let drops = Arc::new(AtomicUsize::new(0));
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let host = Host::new("");
    host.start();
    assert_eq!(host.get("/late").status, 404);
    let counted = Counted(Arc::clone(&drops));
    host.route("GET", "/late", 0, move |_, response| {
        let _counted = &counted;
        send(response, "here")
    });
    assert_eq!(host.get("/late").body, "here");
    unsafe {
        let path = c"/late".as_ptr();
        assert_eq!(nh_server_unroute(host.server, c"GET".as_ptr(), path), NH_OK);
        assert_eq!(nh_server_unroute(host.server, c"GET".as_ptr(), path), NH_ERR_NOT_FOUND);
    }
    assert_eq!(host.get("/late").status, 404);
    until("the route's data to be freed", || drops.load(Ordering::SeqCst) == 1);
}

#[test]
fn refused_routes_free_their_data() {
    let host = Host::new("");
    let attempt = |method: &str, pattern: &str, flags| {
        let drops = Arc::new(());
        let kept = Arc::clone(&drops);
        let (call, data, drop) = handler_parts(move |_, _| {
            let _kept = &kept;
            NH_OK
        });
        let (method, pattern) = (CString::new(method).unwrap(), CString::new(pattern).unwrap());
        let (method, pattern) = (method.as_ptr(), pattern.as_ptr());
        let status =
            unsafe { nh_server_route(host.server, method, pattern, flags, call, data, drop) };
        assert_eq!(Arc::strong_count(&drops) == 1, status != NH_OK);
        status
    };
    assert_eq!(attempt("GET", "/a/:x", 0), NH_OK);
    assert_eq!(attempt("GET", "/a/:y", 0), NH_ERR_DUPLICATE);
    assert_eq!(attempt("GET", "no-slash", 0), NH_ERR_INVALID_PATTERN);
    assert_eq!(attempt("GET", "/:x/:x", 0), NH_ERR_INVALID_PATTERN);
    assert_eq!(attempt("G T", "/b", 0), NH_ERR_INVALID_ARGUMENT);
    assert_eq!(attempt("CONNECT", "/b", 0), NH_ERR_INVALID_ARGUMENT);
    assert_eq!(attempt("GET", "/b", 4), NH_ERR_UNSUPPORTED);
    assert_eq!(attempt("GET", "/b", NH_ROUTE_CACHE), NH_OK);
}

/// A middleware that is a plain function of what stands in a header.
unsafe extern "C-unwind" fn gate(
    request: *mut nh_request,
    response: *mut nh_response,
    _: *mut std::ffi::c_void,
) -> i32 {
    let wish = text(|len| unsafe { nh_request_header(request, c"x-gate".as_ptr(), len) });
    match wish.as_deref() {
        Some("answer") => {
            send(response, "from the gate");
            NH_ANSWERED
        }
        Some("fail") => NH_ERR_DENIED,
        Some("odd") => 7,
        Some("defer") => {
            let mut deferred = null_mut();
            assert_eq!(unsafe { nh_response_defer(response, &mut deferred) }, NH_OK);
            let deferred = Sendable(deferred);
            std::thread::spawn(move || unsafe {
                let body = c"from afar".as_ptr().cast();
                nh_deferred_send(deferred.get(), 200, NO_TEXT, body, 9)
            });
            NH_NEXT
        }
        _ => NH_NEXT,
    }
}

/// Marks every answer with its status, and must not put it off.
unsafe extern "C-unwind" fn stamp(
    _: *mut nh_request,
    response: *mut nh_response,
    _: *mut std::ffi::c_void,
) -> i32 {
    unsafe {
        let (mut deferred, mut stream) = (null_mut(), null_mut());
        assert_eq!(nh_response_defer(response, &mut deferred), NH_ERR_STATE);
        assert_eq!(nh_response_stream(response, &mut stream), NH_ERR_STATE);
        let status = CString::new(nh_response_get_status(response).to_string()).unwrap();
        assert_eq!(nh_response_header(response, c"X-Stamp".as_ptr(), status.as_ptr()), NH_OK);
    }
    NH_NEXT
}

#[test]
fn middleware_stands_before_and_behind_every_answer() {
    let host = Host::new("");
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    host.route("GET", "/", 0, move |_, response| {
        counted.fetch_add(1, Ordering::SeqCst);
        send(response, "from the handler")
    });
    unsafe {
        assert_eq!(nh_server_before(host.server, Some(gate), null_mut(), None), NH_OK);
        assert_eq!(nh_server_after(host.server, Some(stamp), null_mut(), None), NH_OK);
    }
    host.start();
    for (target, wish, status, body, called) in [
        ("/", "next", 200, "from the handler", 1),
        ("/", "answer", 200, "from the gate", 0),
        ("/", "defer", 200, "from afar", 0),
        ("/", "fail", 500, "\"error\"", 0),
        ("/", "odd", 500, "\"error\"", 0),
        ("/none", "next", 404, "\"error\"", 0),
    ] {
        let before = calls.load(Ordering::SeqCst);
        let answer = host.ask(&format!("GET {target} HTTP/1.1\r\nX-Gate: {wish}"), "");
        assert_eq!(answer.status, status, "{wish}");
        assert!(answer.body.contains(body), "{wish}: {}", answer.body);
        assert_eq!(answer.header("x-stamp"), Some(status.to_string().as_str()), "{wish}");
        assert_eq!(calls.load(Ordering::SeqCst) - before, called, "{wish}");
    }
    assert!(host.logged(&["-16 (NH_ERR_DENIED)"]));
}
