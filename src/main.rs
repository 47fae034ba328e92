//! The `neurohttp` program: a thin door to the library.
//!
//! Exit status: 0 fine, 1 failed while running, 2 usage or configuration error.

mod cli;
mod program;
mod service;

use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use neurohttp::config::{Config, Listen, Origin, Source, Sources};
use neurohttp::ffi::load_configured;
use neurohttp::firewall;
use neurohttp::kernel;
use neurohttp::server::client::{Client, prompt_json};
use neurohttp::server::{LogSink, Server, Setup};
use neurohttp::sys::signal::{self, Signals};
use neurohttp::sys::{memory, proc};

use cli::{Command, Options};
use service::Manager;

/// Why the program ends.
pub(crate) enum Trouble {
    /// The words or the configuration are wrong: status 2.
    Usage(String),
    /// It failed while running: status 1.
    Running(String),
}

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let is_aionic = std::path::Path::new(&name).file_stem().is_some_and(|stem| stem == "aionic");
    let mut words: Vec<_> = words.collect();
    if words.first().is_some_and(|word| word == "top") {
        words.remove(0);
        return exit(match program::top::parse(words.into_iter()) {
            Ok(options) => program::top::run(&options),
            Err(message) => Err(Trouble::Usage(message)),
        });
    }
    if words.first().is_some_and(|word| word == "bench") {
        words.remove(0);
        return exit(match program::bench::parse(words.into_iter()) {
            Ok(options) => program::bench::run(&options),
            Err(message) => Err(Trouble::Usage(message)),
        });
    }
    let done = match cli::parse(words) {
        Ok(options) => run(&options, is_aionic),
        Err(message) => Err(Trouble::Usage(message)),
    };
    exit(done)
}

fn exit(done: Result<(), Trouble>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Trouble::Usage(message)) => {
            eprintln!("neurohttp: {message}");
            ExitCode::from(2)
        }
        Err(Trouble::Running(message)) => {
            eprintln!("neurohttp: {message}");
            ExitCode::from(1)
        }
    }
}

fn run(options: &Options, is_aionic: bool) -> Result<(), Trouble> {
    match &options.command {
        Command::Help => say(cli::HELP),
        Command::Version => say(&format!("neurohttp {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Kernels => say(&format!("{}\n", kernel::report())),
        Command::Check => {
            let (config, _) = load(options, is_aionic)?;
            if let Some(file) = &options.request {
                return check_request(config, file, options.from.as_deref());
            }
            config.exposure_check().map_err(|error| Trouble::Usage(error.to_string()))?;
            for note in &config.notes {
                eprintln!("neurohttp: {note}");
            }
            say(&config.to_toml_masked())
        }
        Command::Serve => {
            let passed = service::sockets().map_err(Trouble::Usage)?;
            let mut options = options.clone();
            if let Some(passed) = &passed {
                options.sets.push(("server.listen".to_owned(), passed.listen.clone()));
            }
            serve(load(&options, is_aionic && passed.is_none())?, passed.map(|it| it.sockets))
        }
        Command::Chat { model, prompt } => {
            chat(load(options, is_aionic)?.0, model.as_deref(), prompt)
        }
    }
}

/// What the firewall would do with a raw request from a file, and why.
fn check_request(
    config: Config,
    file: &std::path::Path,
    from: Option<&str>,
) -> Result<(), Trouble> {
    let from = from.unwrap_or("192.0.2.1");
    let address = from
        .parse()
        .map_err(|_| Trouble::Usage(format!("--from {from}: an IP address is expected")))?;
    let raw = std::fs::read(file)
        .map_err(|error| Trouble::Running(format!("{}: {error}", file.display())))?;
    let setup = Setup { log: Some(Arc::new(Errors)), ..Setup::default() };
    let server = Server::new(config, setup).map_err(ended)?;
    let verdict = server.firewall_check(address, &raw).map_err(ended)?;
    say(&format!("{verdict}\n"))
}

/// Writes to standard output. A reader that has gone is no failure of ours.
pub(crate) fn say(text: &str) -> Result<(), Trouble> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Trouble::Running(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn load(options: &Options, is_aionic: bool) -> Result<(Config, Source), Trouble> {
    // Variables that are not text cannot be meant for us.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect::<Vec<_>>();
    let origin = if is_aionic && options.is_bare() {
        Origin::legacy_start(std::path::Path::new("."), &environment)
    } else {
        Origin::sources(&Sources {
            file: options.file.clone(),
            search: true,
            environment,
            sets: options.sets.clone(),
            ..Sources::default()
        })
    };
    let loaded = origin.load().map_err(|error| Trouble::Usage(error.to_string()))?;
    firewall::check_rules(&loaded.0).map_err(Trouble::Usage)?;
    Ok(loaded)
}

/// Serves until a signal ends it, on `sockets` when a service manager has opened some.
fn serve((config, source): (Config, Source), sockets: Option<Vec<OwnedFd>>) -> Result<(), Trouble> {
    let manager = Manager::find();
    let signals = Signals::block().map_err(|error| Trouble::Running(error.to_string()))?;
    let files = proc::open_files_max(true);
    if files < u64::from(config.server.max_connections) + 64 {
        eprintln!(
            "neurohttp: only {files} files may be open; server.max_connections = {} needs more",
            config.server.max_connections
        );
    }
    let server = Arc::new(
        Server::new(config, Setup { source: Some(source), owns_process: true, ..Setup::default() })
            .map_err(ended)?,
    );
    let served = load_configured(&server).and_then(|()| match sockets {
        Some(sockets) => server.start_on_all(sockets),
        None => server.start(),
    });
    if let Err(error) = served {
        server.shutdown();
        return Err(ended(error));
    }
    // A server that cannot watch its files serves all the same; HUP reloads it.
    let watcher = server.watch().inspect_err(|error| {
        server.with_log(|| tracing::warn!("the configuration is not watched: {error}"));
    });
    try_it(&server);
    memory::trim_process();
    manager.ready();
    while signals.wait() == signal::HANG_UP {
        manager.reloading();
        server.reopen_log();
        // Its outcome is logged; the configuration before stays when it fails.
        drop(server.reload("SIGHUP"));
        manager.ready();
    }
    drop(watcher);
    let drain_ms = u64::from(server.config().timeouts.drain);
    manager.stopping(Duration::from_millis(drain_ms));
    server.stop();
    let drained = server.wait(None).map_err(ended);
    // The last functions of plugins run here.
    server.shutdown();
    drained
}

/// One prompt, its answer as it comes.
fn chat(config: Config, model: Option<&str>, prompt: &str) -> Result<(), Trouble> {
    let client = Client::new(config, Some(Arc::new(Errors))).map_err(ended)?;
    let mut trouble = None;
    let answered = client.chat_stream(&prompt_json(model, prompt), &mut |delta| {
        use std::io::Write as _;
        let mut out = std::io::stdout();
        let written = out.write_all(delta.text.as_bytes()).and_then(|()| out.flush());
        trouble = written.err();
        trouble.is_none()
    });
    match (answered, trouble) {
        (_, Some(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        (_, Some(error)) => Err(Trouble::Running(format!("standard output: {error}"))),
        (Err(error), None) => Err(Trouble::Running(error.to_string())),
        (Ok(_), None) => say("\n"),
    }
}

/// Of the log only what a person at a terminal needs.
struct Errors;

impl LogSink for Errors {
    fn line(&self, level: i32, message: &str) {
        if level <= 2 {
            eprintln!("neurohttp: {message}");
        }
    }
}

fn ended(error: neurohttp::base::error::Error) -> Trouble {
    use neurohttp::base::error::ErrorKind;
    match error.kind {
        ErrorKind::Config | ErrorKind::Unsupported | ErrorKind::Plugin | ErrorKind::NotFound => {
            Trouble::Usage(error.to_string())
        }
        _ => Trouble::Running(error.to_string()),
    }
}

/// What to try, for somebody at a terminal or reading along.
fn try_it(server: &Server) {
    let config = server.config();
    let scheme = match config.server.listen.iter().find(|it| !matches!(it, Listen::Unix(_))) {
        Some(Listen::Tls(_)) => "https",
        Some(_) => "http",
        None => return,
    };
    let url = format!("{scheme}://127.0.0.1:{}", server.port());
    let key = match config.auth.keys.is_empty() && config.key.is_empty() {
        true => "",
        false => " -H \"Authorization: Bearer $KEY\"",
    };
    let text = format!(
        "NeuroHTTP {} on {url}\n\
         Try:  curl {url}/health\n      \
         curl -N {url}/v1/chat{key} -d '{{\"prompt\": \"Hello from the other side\", \"stream\": true}}'\n      \
         curl {url}/v1/chat/completions{key} -d '{{\"messages\": [{{\"role\": \"user\", \"content\": \"Hi\"}}]}}'\n",
        env!("CARGO_PKG_VERSION"),
    );
    drop(say(&text));
}
