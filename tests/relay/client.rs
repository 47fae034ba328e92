//! Calls of the host program.

use neurohttp::base::error::ErrorKind;
use neurohttp::server::client::Client;

use crate::upstream::{ASK, Gateway, Upstream};

#[test]
fn echo_answers_the_host_whole_and_in_pieces() {
    let gateway = Gateway::with("");
    let client = Client::of(&gateway.server);
    let reply = client.prompt(None, "one two").unwrap();
    assert_eq!((reply.text.as_str(), reply.finish_reason.as_str()), ("one two", "stop"));
    assert!(reply.usage.is_some());
    let ask = br#"{"model":"echo","messages":[{"role":"user","content":"one two three"}]}"#;
    let mut text = String::new();
    let reply = client
        .chat_stream(ask, &mut |delta| {
            text += delta.text;
            true
        })
        .unwrap();
    assert_eq!((text.as_str(), reply.text.as_str()), ("one two three", "one two three"));
    let stopped = client.chat_stream(ask, &mut |_| false).unwrap_err();
    assert_eq!(stopped.kind, ErrorKind::Cancelled);
    assert!(client.models_json().unwrap().contains("\"echo\""));
    assert_eq!(client.remove("nobody").unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(client.prompt(Some("nobody"), "x").unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(client.chat(b"{").unwrap_err().kind, ErrorKind::InvalidArgument);
}

#[test]
fn failures_have_their_kinds() {
    for (status, kind) in [
        (400, ErrorKind::InvalidArgument),
        (401, ErrorKind::Upstream),
        (403, ErrorKind::Upstream),
        (404, ErrorKind::NotFound),
        (413, ErrorKind::InvalidArgument),
        (422, ErrorKind::InvalidArgument),
        (429, ErrorKind::Limit),
        (500, ErrorKind::Upstream),
        (503, ErrorKind::Upstream),
    ] {
        let upstream = Upstream::start(move |peer| {
            peer.answer_all(
                format!("HTTP/1.1 {status} X\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n")
                    .as_bytes(),
            );
        });
        let gateway = Gateway::before(&upstream, "");
        let error = Client::of(&gateway.server).chat(ASK.as_bytes()).unwrap_err();
        assert_eq!((error.kind, error.http), (kind, status), "{status}: {error:?}");
        assert_eq!(error.retry_after_ms, 3_000, "{status}");
    }
}

#[test]
fn another_thread_cancels() {
    let upstream = Upstream::start(|peer| {
        peer.request().expect("a request");
        peer.expect_gone();
    });
    let gateway = Gateway::before(&upstream, "");
    let client = Client::of(&gateway.server);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| client.chat(ASK.as_bytes()));
        crate::support::wait_until("the call is out", || upstream.accepted() == 1);
        client.cancel();
        assert_eq!(call.join().unwrap().unwrap_err().kind, ErrorKind::Cancelled);
    });
    gateway.wait_cancelled(1);
}
