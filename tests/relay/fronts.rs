//! Behind the fronts of `config/fronts`: tokens pass at once, a client's address is known, a client that
//! goes takes its call along. Each runs where its proxy is installed.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::support::stage::{root, scratch};
use crate::support::wait_until;
use crate::support::wire::Connection;
use crate::upstream::{ASK_STREAM, Gateway, Upstream, provider};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A proxy in front of a gateway.
struct Front {
    child: Child,
    port: u16,
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Front {
    /// Starts the proxy on a free port; `None` where it is not installed.
    fn start(name: &str, gateway: u16) -> Option<Front> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        let Some(program) = places.find_map(|it| Some(it.join(name)).filter(|it| it.is_file()))
        else {
            eprintln!("skipped: no {name}");
            return None;
        };
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = scratch().join(format!("front-{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new(program);
        let source = match name {
            "nginx" => "nginx.conf",
            _ => "haproxy.cfg",
        };
        let text = std::fs::read_to_string(root().join("config/fronts").join(source)).unwrap();
        let text = text
            .replace("server 127.0.0.1:8080", &format!("server 127.0.0.1:{gateway}"))
            .replace("server one 127.0.0.1:8080", &format!("server one 127.0.0.1:{gateway}"))
            .replace("listen 8000;", &format!("listen 127.0.0.1:{port};"))
            .replace("bind :8000", &format!("bind 127.0.0.1:{port}"));
        assert!(text.contains(&gateway.to_string()) && text.contains(&port.to_string()), "{text}");
        let file = folder.join(source);
        std::fs::write(&file, text).unwrap();
        match name {
            "nginx" => {
                let pid = format!("daemon off; master_process off; pid {}/pid;", folder.display());
                command.args(["-e", "stderr", "-g", &pid, "-c"]).arg(file)
            }
            _ => command.args(["-db", "-f"]).arg(file),
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut front = Front { child, port };
        wait_until("the front listens", || {
            assert!(front.child.try_wait().unwrap().is_none(), "{name} has ended");
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        Some(front)
    }
}

fn check(name: &str) {
    let (told, seen) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let (told, may_go_on) = (Mutex::new(told), Mutex::new(may_go_on));
    // The first event comes alone; the rest only when the client has it.
    let upstream = Upstream::start(move |peer| {
        while peer.request().is_some() {
            peer.send(HEAD);
            peer.send("9\r\ndata: 1\n\n\r\n");
            if may_go_on.lock().unwrap().recv().is_err() {
                break;
            }
            peer.send("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
        }
        peer.drain();
        told.lock().unwrap().send("gone").unwrap();
    });
    let text = format!(
        "{}[auth]\nopen = true\n[firewall]\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
         deny = [\"127.0.0.9/32\"]\n",
        provider("up", upstream.port, "")
    );
    let gateway = Gateway::with(&text);
    let Some(front) = Front::start(name, gateway.server.port()) else { return };

    let mut client = Connection::open(front.port);
    client.post("/v1/chat/completions", ASK_STREAM);
    assert_eq!(client.head().status, 200);
    assert_eq!(client.chunk().as_deref(), Some(&b"data: 1\n\n"[..]), "{name} holds tokens back");
    go_on.send(()).unwrap();
    assert_eq!(client.chunk().as_deref(), Some(&b"data: [DONE]\n\n"[..]));
    assert_eq!(client.chunk(), None);

    // The client's own word on its address is not believed, the proxy's is.
    let ask = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.9\r\n\r\n";
    assert_eq!(Connection::open(front.port).send(ask).answer().status, 200, "{name}");
    if let Some(mut denied) = Connection::open_from(Ipv4Addr::new(127, 0, 0, 9), front.port) {
        assert_eq!(denied.get("/health").answer().status, 403, "{name} hides the client");
    }

    let mut client = Connection::open(front.port);
    client.post("/v1/chat/completions", ASK_STREAM);
    assert_eq!(client.head().status, 200);
    assert!(client.chunk().is_some());
    drop(client);
    gateway.wait_cancelled(1);
    // Only now the upstream looks whether somebody is there.
    drop(go_on);
    while seen.recv().unwrap() != "gone" {}
}

#[test]
fn nginx_passes_streams_at_once_and_tells_who_asks() {
    check("nginx");
}

#[test]
fn haproxy_passes_streams_at_once_and_tells_who_asks() {
    check("haproxy");
}
