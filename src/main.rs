//! The `neurohttp` program: a thin door to the library.

use std::process::ExitCode;

use neurohttp::config::{Config, Provider};
use neurohttp::server::{Server, Setup};
use neurohttp::sys::signal::Signals;

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("neurohttp: {message}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), String> {
    let echo = Provider { name: "echo".into(), kind: "echo".into(), ..Provider::default() };
    let config = Config { provider: vec![echo], ..Config::default() };
    let signals = Signals::block().map_err(|error| error.to_string())?;
    let server = Server::new(config, Setup::default()).map_err(|error| error.to_string())?;
    server.start().map_err(|error| error.to_string())?;
    signals.wait();
    server.stop();
    server.wait(None).map_err(|error| error.to_string())
}
