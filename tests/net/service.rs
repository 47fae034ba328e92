//! Under a service manager: sockets that are passed in, and what it is told.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::support::PATIENCE;
use crate::support::process::{Server, clean};
use crate::support::stage::{scratch, stage};
use crate::support::tls::Authority;
use crate::support::wire::Connection;

/// The program as a service manager starts it, with these sockets from descriptor 3 on.
fn passed(sockets: Vec<OwnedFd>, names: &str, words: &str) -> Command {
    // LISTEN_PID is known when the process is there: the shell writes it and becomes the program.
    let script = format!("LISTEN_PID=$$ exec {} serve {words}", stage().program.display());
    let mut command = clean("sh");
    command.args(["-c", &script]);
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names);
    let place = move || {
        let mut high = [-1; 4];
        for (socket, copy) in sockets.iter().zip(&mut high) {
            // SAFETY: no pointer is passed; the copies are the child's own and live until it execs.
            *copy = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 100) };
        }
        for (index, fd) in high.into_iter().take(sockets.len()).enumerate() {
            // SAFETY: as above; the copy at its place is not closed on exec.
            if fd < 0 || unsafe { libc::dup2(fd, 3 + index as i32) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec only fcntl and dup2 are called, and nothing is allocated.
    unsafe { command.pre_exec(place) };
    command
}

fn notices(name: &str) -> (UnixDatagram, std::path::PathBuf) {
    let path = scratch().join(name);
    let _ = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (socket, path)
}

fn notice(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 1024];
    let count = socket.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

/// What would break: socket activation, and a manager that waits for READY.
#[test]
fn serves_on_the_sockets_it_is_handed_and_tells_how_far_it_is() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let path = scratch().join("passed.sock");
    let _ = std::fs::remove_file(&path);
    let unix = UnixListener::bind(&path).unwrap();
    let (manager, name) = notices("notify.sock");

    // A connection that waits before the program runs is served too.
    let early = TcpStream::connect(address).unwrap();
    let mut command = passed(vec![tcp.into(), unix.into()], "web:local", "--listen 127.0.0.1:1");
    let server = Server::start(command.env("NOTIFY_SOCKET", &name));
    assert_eq!(server.port, address.port());
    assert_eq!(notice(&manager), "READY=1");
    assert_eq!(Connection::of(early).get("/health").answer().status, 200);
    assert_eq!(server.connect().get("/health").answer().status, 200);
    assert_eq!(Connection::open_unix(&path).get("/health").answer().status, 200);

    server.signal(libc::SIGHUP);
    let reloading = notice(&manager);
    let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(since.parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(notice(&manager), "READY=1");
    assert_eq!(server.connect().get("/health").answer().status, 200);

    server.signal(libc::SIGTERM);
    let stopping = notice(&manager);
    assert_eq!(stopping, "STOPPING=1\nEXTEND_TIMEOUT_USEC=40000000");
    let output = server.stop();
    assert!(output.contains(&format!("listening on unix:{}", path.display())), "{output}");
    assert!(path.exists(), "the manager's socket file was removed");
}

/// What would break: a TLS port that speaks plain text because its socket came from outside.
#[test]
fn a_socket_called_tls_speaks_tls() {
    let authority = Authority::new("service");
    let issued = authority.issue(&["a.test"]);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = scratch().join("service-tls.toml");
    let (cert, key) = (issued.cert.display(), issued.key.display());
    std::fs::write(&file, format!("[[tls]]\ncert = \"{cert}\"\nkey = \"{key}\"\n")).unwrap();
    let words = format!("-c {}", file.display());
    let server = Server::start(&mut passed(vec![tcp.into()], "tls-web", &words));
    let client = authority.client(None, &["http/1.1"]);
    let mut connection = Connection::open_tls(server.port, &client, "a.test");
    assert_eq!(connection.get("/health").answer().status, 200);
    server.stop();

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = passed(vec![tcp.into()], "tls", "");
    let output = Server::launch(&mut command).expect_exit(2);
    assert!(output.contains("[[tls]]"), "{output}");
}

/// What would break: the open-or-guarded rule is passed by with a socket that others can reach.
#[test]
fn a_public_socket_is_guarded_like_a_public_address() {
    let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
    let mut command = passed(vec![tcp.into()], "", "");
    let output = Server::launch(command.env("OPENAI_API_KEY", "x")).expect_exit(2);
    assert!(output.contains("is open to others"), "{output}");
}

/// What would break: clients of a socket for both families escape lists and limits of IPv4.
#[test]
fn a_client_of_both_families_has_its_ipv4_address() {
    let tcp = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
    let port = tcp.local_addr().unwrap().port();
    let mut command = passed(vec![tcp.into()], "", "--set log.access=true");
    let mut server = Server::launch(&mut command);
    server.line(|line| line.contains("listening on"));
    assert_eq!(Connection::open(port).get("/health").answer().status, 200);
    let line = server.line(|line| line.contains("/health") && line.contains("200"));
    assert!(line.contains("127.0.0.1") && !line.contains("ffff"), "{line}");
    server.stop();
}

#[test]
fn what_is_no_listener_is_refused_and_what_is_not_ours_left() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let output = Server::launch(&mut passed(vec![file.into()], "", "")).expect_exit(2);
    assert!(output.contains("LISTEN_FDS: descriptor 3"), "{output}");
    assert_eq!(output.trim().lines().count(), 1, "{output}");

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = clean(&stage().program);
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let server = Server::start(command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1"));
    assert_ne!(server.port, tcp.local_addr().unwrap().port());
    server.stop();
}

/// What would break: the shipped unit, which denies memory that is writable and executable.
#[test]
fn runs_where_no_memory_can_become_code() {
    const PR_SET_MDWE: libc::c_int = 65;
    let mut command = crate::support::process::program();
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    // SAFETY: prctl takes no pointer here; kernels before 6.3 do not know it, and nothing is lost.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(PR_SET_MDWE, 1_u64, 0_u64, 0_u64, 0_u64);
            Ok(())
        });
    }
    let server = Server::start(&mut command);
    let answer = server.connect().post("/v1/chat", r#"{"prompt": "hi"}"#).answer();
    assert_eq!(answer.json()["response"], "hi");
    server.stop();
}
