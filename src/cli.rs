//! The command line of the program.

use std::ffi::OsString;
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
NeuroHTTP: an HTTP server and gateway for AI traffic

Usage:
  neurohttp [serve] [-c FILE] [--listen ADDR:PORT] [--set section.key=value]...
                          serve until TERM or INT, then drain and end
  neurohttp check [-c FILE]
                          check the configuration and print what it comes to
  neurohttp check [-c FILE] --request FILE [--from ADDRESS]
                          what the firewall would do with a raw HTTP request, and why
  neurohttp chat [-c FILE] [-m MODEL] PROMPT...
                          one prompt, streamed to the terminal
  neurohttp bench URL [-c CONNECTIONS] [-d DURATION] [-n REQUESTS] [-X METHOD] [-H HEADER]...
            [-b BODY | -b @FILE] [--stream] [--timeout DURATION] [-t THREADS] [--json] [-q]
            [-k | --cacert FILE]
                          load on a server: rates and percentiles; the AI routes have a body of
                          their own, --stream counts events, their first and their gaps;
                          Ctrl-C ends it and tells what has come so far
  neurohttp top [URL] [--once]
                          the figures of a running server, every second; q ends it
  neurohttp kernels       CPU features, chosen kernels, self-test
  neurohttp --version | --help

Options:
  -c, --config FILE       TOML, or the old key = value grammar when it ends in .conf;
                          else $NEUROHTTP_CONFIG, ./neurohttp.toml,
                          /etc/neurohttp/neurohttp.toml
      --listen ADDR:PORT  the same as --set server.listen=ADDR:PORT; port 0 picks one
      --set KEY=VALUE     sets a key over file and environment, for example
                          --set limits.body=1000000 or --set provider.openai.api_key=env:KEY

Environment: NEUROHTTP_SECTION__KEY sets a key; OPENAI_API_KEY and its like bring their
providers when none is configured; NEUROHTTP_CPU caps the kernels' level.
Signals: TERM and INT drain and end; HUP reads the configuration and opens the log anew.
Service managers: sockets that one passes (LISTEN_FDS) come in place of server.listen, those whose
names begin with \"tls\" speak TLS; it is told when the server is ready, reloads and stops
(NOTIFY_SOCKET).
Exit status: 0 fine, 1 failed while running, 2 usage or configuration error.
";

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    Serve,
    Chat { model: Option<String>, prompt: String },
    Check,
    Kernels,
    Version,
    Help,
}

/// The command line, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    pub(crate) command: Command,
    pub(crate) file: Option<PathBuf>,
    pub(crate) sets: Vec<(String, String)>,
    /// A raw request that `check` explains, and the address it comes from.
    pub(crate) request: Option<PathBuf>,
    pub(crate) from: Option<String>,
    has_words: bool,
}

impl Options {
    /// Nothing was said at all.
    pub(crate) fn is_bare(&self) -> bool {
        !self.has_words
    }
}

/// Understands the words after the program's name.
///
/// # Errors
/// One line that says what is wrong.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Options, String> {
    let mut options = Options {
        command: Command::Serve,
        file: None,
        sets: Vec::new(),
        request: None,
        from: None,
        has_words: !words.is_empty(),
    };
    let mut listens = Vec::new();
    let mut command = None;
    let mut model = None;
    let mut prompt: Vec<String> = Vec::new();
    let mut only_prompt = false;
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let text = word.to_str().ok_or_else(|| format!("{word:?} is not text"))?;
        let is_chat = matches!(command, Some(Command::Chat { .. }));
        if is_chat && (only_prompt || !text.starts_with('-')) {
            prompt.push(text.to_owned());
            continue;
        }
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
            _ => (text, None),
        };
        let mut value = |what: &str| {
            let given = attached.clone().or_else(|| words.next());
            given.ok_or_else(|| format!("{name} needs {what}"))
        };
        match name {
            "--help" | "-h" => command = Some(Command::Help),
            "--version" | "-V" => command = Some(Command::Version),
            "-c" | "--config" => options.file = Some(PathBuf::from(value("a file")?)),
            "--request" => options.request = Some(PathBuf::from(value("a file")?)),
            "--from" => options.from = Some(as_text(value("an address")?)?),
            "--listen" => listens.push(as_text(value("an address, for example 127.0.0.1:8080")?)?),
            "--set" => {
                let set = as_text(value("section.key=value")?)?;
                let (key, value) = set
                    .split_once('=')
                    .ok_or_else(|| format!("--set {set}: section.key=value is expected"))?;
                options.sets.push((key.trim().to_owned(), value.trim().to_owned()));
            }
            "-m" | "--model" if is_chat => model = Some(as_text(value("a model")?)?),
            "--" if is_chat => only_prompt = true,
            "chat" if command.is_none() => {
                command = Some(Command::Chat { model: None, prompt: String::new() });
            }
            "serve" | "check" | "kernels" if command.is_none() => {
                command = Some(match name {
                    "serve" => Command::Serve,
                    "check" => Command::Check,
                    _ => Command::Kernels,
                });
            }
            _ => return Err(format!("{text} is not understood; see neurohttp --help")),
        }
    }
    if !listens.is_empty() {
        options.sets.push(("server.listen".to_owned(), listens.join(",")));
    }
    if (options.request.is_some() || options.from.is_some()) && command != Some(Command::Check) {
        return Err("--request and --from belong to check".to_owned());
    }
    options.command = match command {
        Some(Command::Chat { .. }) if prompt.is_empty() => {
            return Err("chat needs a prompt".to_owned());
        }
        Some(Command::Chat { .. }) => Command::Chat { model, prompt: prompt.join(" ") },
        command => command.unwrap_or(Command::Serve),
    };
    Ok(options)
}

fn as_text(word: OsString) -> Result<String, String> {
    word.into_string().map_err(|word| format!("{word:?} is not text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn commands_and_options_are_understood() {
        let options = check("serve -c x.toml --listen 127.0.0.1:0 --set limits.body=7").unwrap();
        assert_eq!(options.command, Command::Serve);
        assert_eq!(options.file, Some(PathBuf::from("x.toml")));
        let sets = [("limits.body", "7"), ("server.listen", "127.0.0.1:0")];
        assert_eq!(options.sets, sets.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert!(check("").unwrap().is_bare());
        assert_eq!(check("--config=a check").unwrap().command, Command::Check);
        let chat = Command::Chat { model: Some("m".into()), prompt: "hi -x there".into() };
        assert_eq!(check("chat -m m hi -- -x there").unwrap().command, chat);
        assert_eq!(check("kernels").unwrap().command, Command::Kernels);
        assert_eq!(check("--listen=a --listen b").unwrap().sets[0].1, "a,b");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, want) in [
            ("dance", "dance is not understood; see neurohttp --help"),
            ("serve check", "check is not understood; see neurohttp --help"),
            ("-c", "-c needs a file"),
            ("chat", "chat needs a prompt"),
            ("chat -m", "-m needs a model"),
            ("--set a", "--set a: section.key=value is expected"),
            ("--frob=1", "--frob=1 is not understood; see neurohttp --help"),
        ] {
            assert_eq!(check(line), Err(want.to_owned()), "{line}");
        }
    }
}
