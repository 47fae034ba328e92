//! Another configuration while the server runs: by signal, by itself when the file changes; files
//! that are half-written or hostile; what is under way meanwhile.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::process::{Server, program};
use crate::support::stage::scratch;
use crate::support::tls::Authority;
use crate::support::wait_until;
use crate::support::wire::Connection;

/// A folder of a test's own.
fn folder(name: &str) -> PathBuf {
    let folder = scratch().join(format!("reload-{name}"));
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes a new file and renames it over the old one, as careful programs do.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, file).unwrap();
}

fn start(file: &Path) -> Server {
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "-c"]).arg(file);
    Server::start(&mut command)
}

/// The largest body that the server takes, told by which of two sizes is refused.
fn takes_body(server: &Server, bytes: usize) -> bool {
    let fields = format!("Content-Length: {bytes}\r\nExpect: 100-continue\r\n");
    let head = format!("POST /nothing HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    match server.connect().send(head).head().status {
        413 => false,
        404 => true,
        other => panic!("{other}"),
    }
}

fn taken(server: &mut Server, what: &str) -> String {
    server.line(|line| line.contains("the configuration was read anew") && line.contains(what))
}

fn refused(server: &mut Server, what: &str) -> String {
    server.line(|line| line.contains("was not taken up") && line.contains(what))
}

#[test]
fn a_hang_up_reads_the_file_anew_and_a_bad_one_changes_nothing() {
    let folder = folder("hup");
    let file = folder.join("a.toml");
    fs::write(&file, "[limits]\nbody = 1000\n").unwrap();
    let mut server = start(&file);
    assert!(takes_body(&server, 1000) && !takes_body(&server, 1001));
    replace(&file, "[limits]\nbody = 500\n");
    server.signal(libc::SIGHUP);
    taken(&mut server, "limits.body");
    assert!(takes_body(&server, 500) && !takes_body(&server, 501));
    replace(&file, "[limits]\nbody = 700\nfrob = 1\n");
    server.signal(libc::SIGHUP);
    refused(&mut server, "a.toml:3:1: ");
    assert!(!takes_body(&server, 501));
    // A key that cannot be taken up is named.
    replace(&file, "[limits]\nbody = 600\n[server]\nworkers = 7\n");
    server.signal(libc::SIGHUP);
    taken(&mut server, "limits.body");
    server.line(|line| line.ends_with("taken up at the next start only: server.workers"));
    assert!(takes_body(&server, 600));
    server.stop();
}

#[test]
fn a_file_that_changes_is_read_by_itself() {
    let folder = folder("inotify");
    let file = folder.join("a.toml");
    fs::write(&file, "[limits]\nbody = 1000\n").unwrap();
    let mut server = start(&file);
    // In place, by a new name, by going away for a moment.
    fs::write(&file, "[limits]\nbody = 500\n").unwrap();
    wait_until("written in place", || !takes_body(&server, 501));
    replace(&file, "[limits]\nbody = 400\n");
    wait_until("renamed over", || !takes_body(&server, 401));
    fs::remove_file(&file).unwrap();
    refused(&mut server, "a.toml");
    assert!(!takes_body(&server, 401) && takes_body(&server, 400));
    fs::write(&file, "[limits]\nbody = 300\n").unwrap();
    wait_until("back again", || !takes_body(&server, 301));
    server.stop();
}

#[test]
fn a_link_that_moves_is_followed() {
    // As orchestrators mount configuration: file -> ..data/file, ..data -> ..1.
    let folder = folder("links");
    for (name, body) in [("..1", 1000), ("..2", 500), ("..3", 300)] {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("a.toml"), format!("[limits]\nbody = {body}\n")).unwrap();
    }
    symlink("..1", folder.join("..data")).unwrap();
    symlink("..data/a.toml", folder.join("a.toml")).unwrap();
    let server = start(&folder.join("a.toml"));
    for (name, body) in [("..2", 500), ("..3", 300)] {
        symlink(name, folder.join("..new")).unwrap();
        fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
        wait_until(name, || !takes_body(&server, body + 1));
        assert!(takes_body(&server, body));
    }
    server.stop();
}

#[test]
fn half_written_and_hostile_files_never_take_effect() {
    let folder = folder("hostile");
    let file = folder.join("a.toml");
    let whole = "[limits]\nbody = 1000\n[log]\nlevel = \"info\"\n";
    fs::write(&file, whole).unwrap();
    let mut server = start(&file);
    let long = format!("[limits]\nbody = 5\n#{}\n", "x".repeat(5 << 20));
    let deep = format!("[plugin.x]\na = {}1{}\n", "[".repeat(5000), "]".repeat(5000));
    let texts: Vec<(&str, Vec<u8>)> = vec![
        ("is empty now", Vec::new()),
        ("is empty now", b"  \n\n".to_vec()),
        ("ends within a line", b"[limits]\nbody = 1".to_vec()),
        ("a.toml:2:", b"[limits]\nbody = \n".to_vec()),
        ("a.toml:1:", b"[limi\n".to_vec()),
        ("UTF-8", b"[limits]\nbody = 5 # \xff\xfe\n".to_vec()),
        ("a.toml", b"\0\0\0\0\n".to_vec()),
        ("too large", long.into_bytes()),
        ("a.toml", deep.into_bytes()),
        ("a.toml:1:", b"[unknown]\nbody = 5\n".to_vec()),
        ("limits.body", b"[limits]\nbody = -1\n".to_vec()),
    ];
    for (why, text) in &texts {
        let before = server.output().matches("was not taken up").count();
        replace(&file, &String::from_utf8_lossy(text));
        fs::write(folder.join("raw"), text).unwrap();
        fs::rename(folder.join("raw"), &file).unwrap();
        server.signal(libc::SIGHUP);
        wait_until(why, || server.output().matches("was not taken up").count() > before);
        assert!(takes_body(&server, 1000) && !takes_body(&server, 1001), "{why}");
        assert!(server.alive());
    }
    for (why, _) in texts.iter().filter(|(why, _)| *why != "limits.body") {
        refused(&mut server, why);
    }
    // What is no plain file is not opened: it could make the reader wait for ever.
    fs::remove_file(&file).unwrap();
    let path = std::ffi::CString::new(file.to_str().unwrap()).unwrap();
    // SAFETY: the path is NUL-terminated.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    server.signal(libc::SIGHUP);
    refused(&mut server, "is no plain file");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    server.signal(libc::SIGHUP);
    wait_until("a folder", || server.output().matches("is no plain file").count() > 1);
    fs::remove_dir(&file).unwrap();
    // Written piece by piece, each of which would do by itself: only the whole is taken up.
    fs::write(&file, whole).unwrap();
    let mut out = fs::File::create(&file).unwrap();
    for piece in ["[limits]\nbody = 5\n", "request_line = 100\n", "header_section = 300\n"] {
        use std::io::Write as _;
        out.write_all(piece.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(150));
        assert!(takes_body(&server, 1000), "{piece}");
    }
    drop(out);
    let told = taken(&mut server, "limits.body");
    assert!(told.contains("limits.request_line") && told.contains("limits.header_section"));
    server.stop();
}

/// Asks for a reload and returns the status and what is said of it.
fn asked(operator: &mut Connection) -> (u16, String) {
    let fields = "Content-Type: application/json\r\nContent-Length: 0\r\n";
    let head = format!("POST /admin/reload HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let answer = operator.send(head).answer();
    (answer.status, answer.text().to_owned())
}

/// Wrong: a piece of a configuration, or bytes that are none, take effect in part or whole, or end
/// the server. A piece that ends with a line is a configuration like any other.
#[test]
fn no_piece_of_a_file_and_no_noise_takes_effect() {
    let folder = folder("pieces");
    let file = folder.join("a.toml");
    let sample =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/neurohttp.toml"))
            .unwrap();
    // Its own port, and something in the first lines that would be seen.
    let sample = sample.replacen("\"127.0.0.1:8080\"", "\"127.0.0.1:0\"", 1);
    let body = sample.lines().find(|line| line.starts_with("body = ")).unwrap().to_owned();
    let whole = sample.replacen(&body, "body = 1000", 1);
    let other = sample.replacen(&body, "body = 5", 1);
    fs::write(&file, &whole).unwrap();
    let mut command = program();
    let mut server = Server::start(command.args(["serve", "-c"]).arg(&file));
    let mut operator = server.connect();
    let shown = |operator: &mut Connection| {
        let head = "GET /admin/config HTTP/1.1\r\nHost: localhost\r\n\r\n";
        operator.send(head).answer().json()
    };
    let before = shown(&mut operator);
    let bytes = other.as_bytes();
    let cuts = (0..bytes.len()).step_by(13).filter(|cut| *cut == 0 || bytes[*cut - 1] != b'\n');
    let mut count = 0;
    for cut in cuts {
        replace(&file, &String::from_utf8_lossy(&bytes[..cut]));
        let (status, text) = asked(&mut operator);
        assert_eq!(status, 400, "{cut}: {text}");
        count += 1;
    }
    assert!(count > 500, "{count}");
    assert_eq!(shown(&mut operator), before);
    // Noise: always the same, so that a failure can be had again.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..200 {
        let mut noise: Vec<u8> =
            (0..next() % 4096 + 1).map(|_| (next() >> 24) as u8).chain(*b"\n").collect();
        if round % 2 == 0 {
            noise.iter_mut().for_each(|byte| *byte = *byte % 95 + 32);
            noise.push(b'\n');
        }
        fs::write(folder.join("noise"), &noise).unwrap();
        fs::rename(folder.join("noise"), &file).unwrap();
        let (status, text) = asked(&mut operator);
        assert_eq!(status, 400, "{round}: {text}");
    }
    assert_eq!(shown(&mut operator), before);
    // What a name may lead to.
    let huge = fs::File::create(folder.join("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    let fifo = std::ffi::CString::new(folder.join("fifo").to_str().unwrap()).unwrap();
    // SAFETY: the path is NUL-terminated.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    for target in
        ["huge", "folder", "fifo", "/dev/zero", "/dev/tty", "/proc/self/mem", "a.toml", "none"]
    {
        symlink(target, folder.join("link")).unwrap();
        fs::rename(folder.join("link"), &file).unwrap();
        let (status, text) = asked(&mut operator);
        assert_eq!(status, 400, "{target}: {text}");
        assert!(takes_body(&server, 1000) && !takes_body(&server, 1001), "{target}");
    }
    assert_eq!(shown(&mut operator), before);
    fs::remove_file(&file).unwrap();
    fs::write(&file, &other).unwrap();
    assert_eq!(asked(&mut operator).0, 200);
    assert!(takes_body(&server, 5) && !takes_body(&server, 6));
    assert!(server.alive());
    server.stop();
}

/// Wrong: a file that is another now is taken for the one that was read, because its date was set
/// back; or one that the configuration names makes a reload wait for ever.
#[test]
fn a_date_hides_nothing_and_a_pipe_holds_nobody_up() {
    let folder = folder("dates");
    let file = folder.join("a.toml");
    fs::write(&file, "[limits]\nbody = 1000\n").unwrap();
    let about = fs::metadata(&file).unwrap();
    let mut server = Server::start(
        program()
            .env("NEUROHTTP_ENV", "prod")
            .args(["serve", "--listen", "127.0.0.1:0", "-c"])
            .arg(&file),
    );
    let mut out = fs::OpenOptions::new().write(true).open(&file).unwrap();
    std::io::Write::write_all(&mut out, b"[limits]\nbody = 2000\n").unwrap();
    out.set_modified(about.modified().unwrap()).unwrap();
    drop(out);
    assert_eq!(fs::metadata(&file).unwrap().len(), about.len());
    wait_until("the same size and date", || takes_body(&server, 2000));
    let fifo = |name: &str| {
        let path = std::ffi::CString::new(folder.join(name).to_str().unwrap()).unwrap();
        // SAFETY: the path is NUL-terminated.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    };
    let mut operator = server.connect();
    fifo("a.prod.toml");
    let (status, text) = asked(&mut operator);
    assert!(status == 400 && text.contains("is no plain file"), "{text}");
    fs::remove_file(folder.join("a.prod.toml")).unwrap();
    fifo("rules");
    fifo("key.pem");
    let named = |name: &str| folder.join(name).display().to_string();
    let (rules, key) = (named("rules"), named("key.pem"));
    for more in [
        format!("[firewall]\nrules = [{rules:?}]\n"),
        format!("[[tls]]\ncert = {key:?}\nkey = {key:?}\n"),
        format!(
            "[[provider]]\nname = \"p\"\nkind = \"openai\"\nbase_url = \"https://x\"\nca_file = {key:?}\n"
        ),
        format!("[telemetry]\nendpoint = \"https://x\"\nca_file = {key:?}\n"),
    ] {
        replace(&file, &format!("[limits]\nbody = 5\n{more}"));
        let (status, text) = asked(&mut operator);
        assert!(status == 400 && text.contains("is no plain file"), "{more}: {text}");
    }
    assert!(takes_body(&server, 2000));
    replace(&file, "[limits]\nbody = 7\n");
    assert_eq!(asked(&mut operator).0, 200);
    assert!(takes_body(&server, 7) && !takes_body(&server, 8));
    assert!(server.alive());
    server.stop();
}

/// Wrong: a folder that goes and comes again, with another file in it, is watched no more.
#[test]
fn a_folder_that_goes_and_comes_is_watched_again() {
    let folder = folder("coming");
    let inner = folder.join("inner");
    fs::create_dir(&inner).unwrap();
    let file = inner.join("a.toml");
    fs::write(&file, "[limits]\nbody = 1000\n").unwrap();
    let mut server = start(&file);
    fs::rename(&inner, folder.join("away")).unwrap();
    refused(&mut server, "a.toml");
    assert!(takes_body(&server, 1000));
    fs::create_dir(folder.join("next")).unwrap();
    fs::write(folder.join("next").join("a.toml"), "[limits]\nbody = 500\n").unwrap();
    fs::rename(folder.join("next"), &inner).unwrap();
    wait_until("the folder has come", || !takes_body(&server, 501));
    replace(&file, "[limits]\nbody = 300\n");
    wait_until("it is watched", || !takes_body(&server, 301));
    server.stop();
}

#[test]
fn the_overlay_of_an_environment_is_read_too() {
    let folder = folder("overlay");
    let (file, overlay) = (folder.join("a.toml"), folder.join("a.prod.toml"));
    fs::write(&file, "[limits]\nbody = 1000\n").unwrap();
    let mut command = program();
    command.env("NEUROHTTP_ENV", "prod");
    command.args(["serve", "--listen", "127.0.0.1:0", "--set", "limits.request_line=200", "-c"]);
    let server = Server::start(command.arg(&file));
    replace(&overlay, "[limits]\nbody = 500\n");
    wait_until("the overlay came", || !takes_body(&server, 501));
    // The file below it does not matter for this key, and neither for what was set at the start.
    replace(&file, "[limits]\nbody = 700\nrequest_line = 4000\nheader_section = 300\n");
    wait_until("the file changed", || {
        let long = format!("/{}", "x".repeat(300));
        assert_eq!(server.connect().get(&long).answer().status, 414);
        let field = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(300));
        server.connect().send(field).answer().status == 431
    });
    assert!(!takes_body(&server, 501));
    replace(&overlay, "[limits]\nbody = 400\n");
    wait_until("the overlay changed", || !takes_body(&server, 401));
    fs::remove_file(&overlay).unwrap();
    wait_until("the overlay went", || takes_body(&server, 700));
    server.stop();
}

#[test]
fn listeners_come_and_go() {
    let folder = folder("listeners");
    let file = folder.join("a.toml");
    let socket = folder.join("b.sock");
    let issued = Authority::new("reload").issue(&["localhost"]);
    let first = "127.0.0.1:0";
    let listen = |more: &str| format!("[server]\nlisten = [\"{first}\"{more}]\n");
    fs::write(&file, listen("")).unwrap();
    let mut command = program();
    let mut server = Server::start(command.args(["serve", "-c"]).arg(&file));
    // A request that is under way on a listener which goes is answered.
    replace(&file, &listen(&format!(", \"unix:{}\"", socket.display())));
    server.line(|line| line.contains("listening on unix:"));
    wait_until("the socket", || socket.exists());
    let mut slow = Connection::open_unix(&socket);
    slow.send("GET /health HTTP/1.1\r\n");
    assert_eq!(Connection::open_unix(&socket).get("/health").answer().status, 200);
    let tls = format!(
        "[[tls]]\ncert = \"{}\"\nkey = \"{}\"\n",
        issued.cert.display(),
        issued.key.display()
    );
    replace(&file, &format!("{}{tls}", listen(", \"tls://127.0.0.1:0\"")));
    server.line(|line| line.contains("no more"));
    server.line(|line| line.contains("listening on tls://"));
    assert_eq!(slow.send("Host: x\r\n\r\n").answer().status, 200);
    wait_until("the socket has gone", || !socket.exists());
    assert_eq!(server.connect().get("/health").answer().status, 200);
    // An address that cannot be had refuses the whole.
    let taken_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken_port.local_addr().unwrap();
    replace(&file, &listen(&format!(", \"{address}\"")));
    refused(&mut server, "cannot listen on");
    assert_eq!(server.connect().get("/health").answer().status, 200);
    server.stop();
}

#[test]
fn a_new_certificate_is_shown() {
    let folder = folder("certificates");
    let file = folder.join("a.toml");
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let authority = Authority::new("certificates");
    let issue = || {
        let issued = authority.issue(&["localhost"]);
        // Key first: a pair that does not fit is refused and tried again.
        fs::copy(&issued.key, folder.join("k")).unwrap();
        fs::rename(folder.join("k"), &key).unwrap();
        fs::copy(&issued.cert, folder.join("c")).unwrap();
        fs::rename(folder.join("c"), &cert).unwrap();
        crate::support::tls::first_certificate(&cert)
    };
    let first = issue();
    let text = format!(
        "[server]\nlisten = \"tls://127.0.0.1:0\"\n[[tls]]\ncert = \"{}\"\nkey = \"{}\"\n",
        cert.display(),
        key.display()
    );
    fs::write(&file, text).unwrap();
    let mut command = program();
    let server = Server::start(command.args(["serve", "-c"]).arg(&file));
    let shown = || {
        let client = authority.client(None, &[]);
        let mut connection = Connection::open_tls(server.port, &client, "localhost");
        assert_eq!(connection.get("/health").answer().status, 200);
        connection.tls().conn.peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(shown(), first);
    let second = issue();
    assert_ne!(first, second);
    wait_until("the new certificate", || shown() == second);
    server.stop();
}

#[test]
fn an_old_file_is_read_anew_too() {
    let folder = folder("old");
    let file = folder.join("aionic.conf");
    fs::write(&file, "port = 0\ncache_ttl = 60\n").unwrap();
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "-c"]).arg(&file);
    let mut server = Server::start(&mut command);
    fs::write(&file, "port = 0\ncache_ttl = 30\n").unwrap();
    taken(&mut server, "cache.ttl");
    assert_eq!(server.connect().get("/health").answer().status, 200);
    server.stop();
}
