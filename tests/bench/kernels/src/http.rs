//! Heads of requests.

use crate::contest::{Contest, Settings, print};
use neurohttp::http::head::{HeadLimits, RequestHead, parse_request};
use neurohttp::kernel::{self, head::Marks};
use std::hint::black_box;

/// As a client library sends it, as a browser does, and the smallest.
const HEADS: [&str; 3] = [
    "GET /health HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
    "POST /v1/chat/completions HTTP/1.1\r\nHost: api.example.com\r\nAccept: application/json\r\n\
     Content-Type: application/json\r\nContent-Length: 1234\r\nConnection: keep-alive\r\n\
     Authorization: Bearer sk-0123456789abcdefghijklmnopqrstuvwxyz\r\n\r\n",
    "POST /v1/chat/completions?beta=true HTTP/1.1\r\nHost: api.example.com\r\n\
     User-Agent: OpenAI/Python 1.40.0\r\nAccept: application/json\r\n\
     Accept-Encoding: gzip, deflate, br\r\n\
     Authorization: Bearer sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n\
     Content-Type: application/json\r\nContent-Length: 1234\r\nX-Stainless-Lang: python\r\n\
     X-Stainless-Package-Version: 1.40.0\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\n\
     X-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.11.6\r\n\
     X-Stainless-Async: false\r\nX-Request-Id: 4bf92f3577b34da6a3ce929d0e0e4736\r\n\
     X-Forwarded-For: 203.0.113.195, 70.41.3.18\r\n\
     Cookie: __cf_bm=abcdefghij; session=0123456789abcdef\r\nConnection: keep-alive\r\n\r\n",
];

/// Ours also looks every name up, checks host and target, and decides framing and connection; httparse's
/// result is names and values. The index alone is where they end.
pub fn head(settings: &Settings) {
    let outcomes: Vec<_> = HEADS
        .into_iter()
        .map(|text| {
            let bytes = text.as_bytes();
            let section = &bytes[text.find("\r\n").expect("a request line") + 2..];
            let mut contest = Contest::new(bytes.len());
            let mut head = RequestHead::new();
            let limits = HeadLimits::default();
            contest.ours("ours, the whole parser", move || {
                head.reset();
                black_box(parse_request(black_box(bytes), &limits, &mut head)).expect("a head");
            });
            contest.ours("ours, the index alone", move || {
                let mut marks = Marks::new();
                black_box(kernel::head_index(black_box(section), 0, &mut marks));
                black_box(marks.positions().len());
            });
            contest.rival("httparse", || {
                let mut headers = [httparse::EMPTY_HEADER; 64];
                let mut request = httparse::Request::new(&mut headers);
                black_box(request.parse(black_box(bytes))).expect("a head");
            });
            contest.rival("httparse, uninitialized", || {
                let mut headers = [const { std::mem::MaybeUninit::uninit() }; 64];
                let mut request = httparse::Request::new(&mut []);
                black_box(request.parse_with_uninit_headers(black_box(bytes), &mut headers))
                    .expect("a head");
            });
            contest.run(settings)
        })
        .collect();
    print("HTTP request head", &outcomes);
}
