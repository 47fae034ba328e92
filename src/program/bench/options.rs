//! The words after `neurohttp bench`.

use std::ffi::OsString;
use std::path::PathBuf;

use neurohttp::http::encode;

use crate::program::url::Url;

/// Connections at once, the most.
const CONNECTIONS_MAX: usize = 50_000;
const THREADS_MAX: usize = 256;
/// A body or a prompt file larger than this is a mistake.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;
const MS_MAX: u64 = 24 * 3600 * 1000;

/// What to send, how often and how to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    pub(super) url: Url,
    pub(super) connections: usize,
    /// 0: as many as there are processors, and not more than connections.
    pub(super) threads: usize,
    /// How long, in milliseconds; none with a number of requests alone.
    pub(super) duration_ms: Option<u64>,
    /// How many; none with a duration alone.
    pub(super) requests: Option<u64>,
    /// One request may take so long, in milliseconds.
    pub(super) timeout_ms: u64,
    pub(super) method: String,
    pub(super) body: Body,
    pub(super) headers: Vec<(String, String)>,
    /// Answers are streams of events.
    pub(super) stream: bool,
    /// Certificates are not checked.
    pub(super) insecure: bool,
    /// PEM of a private authority.
    pub(super) ca_file: Option<PathBuf>,
    pub(super) json: bool,
    pub(super) quiet: bool,
}

/// Where the body comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Body {
    Nothing,
    Text(String),
    File(PathBuf),
}

/// Understands the words.
///
/// # Errors
/// One line that says what is wrong.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Options, String> {
    let mut url = None;
    let mut method = None;
    let mut options = Options {
        url: Url::parse("http://localhost")?,
        connections: 50,
        threads: 0,
        duration_ms: None,
        requests: None,
        timeout_ms: 30_000,
        method: String::new(),
        body: Body::Nothing,
        headers: Vec::new(),
        stream: false,
        insecure: false,
        ca_file: None,
        json: false,
        quiet: false,
    };
    let mut words = words;
    while let Some(word) = words.next() {
        let text = word.to_str().ok_or_else(|| format!("{word:?} is not text"))?;
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (text, None),
        };
        let mut value = |what: &str| match attached.clone() {
            Some(value) => Ok(value),
            None => words
                .next()
                .ok_or_else(|| format!("{name} needs {what}"))?
                .into_string()
                .map_err(|word| format!("{word:?} is not text")),
        };
        match name {
            "-c" | "--connections" => {
                options.connections =
                    number(name, &value("a number")?, CONNECTIONS_MAX as u64)? as usize;
            }
            "-t" | "--threads" => {
                options.threads = number(name, &value("a number")?, THREADS_MAX as u64)? as usize;
            }
            "-n" | "--requests" => {
                options.requests = Some(number(name, &value("a number")?, u64::MAX / 2)?);
            }
            "-d" | "--duration" => options.duration_ms = Some(ms(name, &value("a duration")?)?),
            "--timeout" => options.timeout_ms = ms(name, &value("a duration")?)?,
            "-X" | "--method" => method = Some(value("a method")?),
            "-b" | "--body" => {
                let body = value("a text or @FILE")?;
                options.body = match body.strip_prefix('@') {
                    Some(file) => Body::File(PathBuf::from(file)),
                    None => Body::Text(body),
                };
            }
            "-H" | "--header" => options.headers.push(header(&value("a header, Name: value")?)?),
            "--cacert" => options.ca_file = Some(PathBuf::from(value("a file")?)),
            "-k" | "--insecure" => options.insecure = true,
            "--stream" => options.stream = true,
            "--json" => options.json = true,
            "-q" | "--quiet" => options.quiet = true,
            _ if text.starts_with('-') || url.is_some() => {
                return Err(format!("bench: {text} is not understood; see neurohttp --help"));
            }
            _ => url = Some(Url::parse(text)?),
        }
    }
    options.url = url.ok_or("bench needs a URL, for example http://127.0.0.1:8080/health")?;
    if options.duration_ms.is_none() && options.requests.is_none() {
        options.duration_ms = Some(10_000);
    }
    if options.body == Body::Nothing && method.as_deref().is_none_or(|it| it == "POST") {
        options.body = small_talk(&options.url.target, options.stream);
    }
    let default = if options.body == Body::Nothing { "GET" } else { "POST" };
    options.method = method.unwrap_or_else(|| default.to_owned());
    if !encode::valid_name(options.method.as_bytes()) || options.method == "CONNECT" {
        return Err(format!("bench: {} is no method that can be sent", options.method));
    }
    Ok(options)
}

/// What is asked on the AI routes when nothing else was said.
fn small_talk(target: &str, stream: bool) -> Body {
    let messages = r#""messages":[{"role":"user","content":"Say this is a test of ten words or a few more."}]"#;
    let text = match target.split('?').next().unwrap_or_default() {
        "/v1/chat" => format!(
            r#"{{"prompt":"Say this is a test of ten words or a few more.","stream":{stream}}}"#
        ),
        "/v1/chat/completions" => format!(r#"{{{messages},"stream":{stream}}}"#),
        "/v1/messages" => format!(r#"{{{messages},"max_tokens":256,"stream":{stream}}}"#),
        _ => return Body::Nothing,
    };
    Body::Text(text)
}

impl Options {
    /// The request as it goes out each time.
    ///
    /// # Errors
    /// One line: the file cannot be read, or is too large.
    pub(super) fn request(&self) -> Result<Vec<u8>, String> {
        let body = match &self.body {
            Body::Nothing => Vec::new(),
            Body::Text(text) => text.clone().into_bytes(),
            Body::File(file) => {
                let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
                let size = std::fs::metadata(file).map_err(|error| wrong(&error))?.len();
                if size > BODY_BYTES_MAX {
                    return Err(wrong(&"a body has at most 64 MiB"));
                }
                std::fs::read(file).map_err(|error| wrong(&error))?
            }
        };
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.url.target).into_bytes();
        let agent = concat!("neurohttp-bench/", env!("CARGO_PKG_VERSION"));
        let kind = match body.first() {
            Some(b'{' | b'[') => "application/json",
            _ => "application/octet-stream",
        };
        let accept = if self.stream { "text/event-stream" } else { "*/*" };
        for (name, value) in [
            ("Host", &*self.url.authority),
            ("User-Agent", agent),
            ("Accept", accept),
            ("Content-Type", if body.is_empty() { "" } else { kind }),
        ] {
            let is_given = self.headers.iter().any(|(have, _)| have.eq_ignore_ascii_case(name));
            if !is_given && !value.is_empty() {
                encode::field(&mut out, name.as_bytes(), value.as_bytes());
            }
        }
        for (name, value) in &self.headers {
            encode::field(&mut out, name.as_bytes(), value.as_bytes());
        }
        if !body.is_empty() || !matches!(&*self.method, "GET" | "HEAD" | "OPTIONS" | "DELETE") {
            encode::content_length(&mut out, body.len() as u64);
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&body);
        Ok(out)
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
    let (name, value) = parts
        .filter(|(name, value)| {
            encode::valid_name(name.as_bytes()) && encode::valid_value(value.as_bytes())
        })
        .ok_or_else(|| format!("-H {text}: Name: value is expected"))?;
    // They say where the request ends, and that is for the body alone to say.
    if ["content-length", "transfer-encoding", "expect"]
        .iter()
        .any(|it| name.eq_ignore_ascii_case(it))
    {
        return Err(format!("-H {text}: this one follows from the body"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn number(name: &str, text: &str, most: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| match most {
        most if most > 1_000_000 => format!("{name} {text}: a number from 1 is expected"),
        _ => format!("{name} {text}: a number from 1 to {most} is expected"),
    })
}

/// `10`, `10s`, `500ms`, `2m`, `1h`.
fn ms(name: &str, text: &str) -> Result<u64, String> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let factor = match unit {
        "ms" => Some(1.0),
        "" | "s" => Some(1e3),
        "m" => Some(60e3),
        "h" => Some(3600e3),
        _ => None,
    };
    let value = digits.parse::<f64>().ok().zip(factor).map(|(value, factor)| value * factor);
    match value {
        Some(ms) if (1.0..=MS_MAX as f64).contains(&ms) => Ok(ms as u64),
        _ => Err(format!("{name} {text}: a duration such as 500ms, 10s or 2m is expected")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn words_become_a_request() {
        let options = check("http://h:81/p?q -H a:b -X PUT --body={} -n 5 -c 2 -t 1").unwrap();
        let sent = String::from_utf8(options.request().unwrap()).unwrap();
        let agent = env!("CARGO_PKG_VERSION");
        assert_eq!(
            sent,
            format!(
                "PUT /p?q HTTP/1.1\r\nHost: h:81\r\nUser-Agent: neurohttp-bench/{agent}\r\nAccept: */*\r\n\
                 Content-Type: application/json\r\na: b\r\ncontent-length: 2\r\n\r\n{{}}"
            )
        );
        assert_eq!((options.requests, options.duration_ms), (Some(5), None));
        let plain = check("h -H host:x -d 1.5s --timeout 250ms").unwrap();
        assert_eq!((plain.duration_ms, plain.timeout_ms), (Some(1500), 250));
        let sent = String::from_utf8(plain.request().unwrap()).unwrap();
        assert!(sent.starts_with("GET / HTTP/1.1\r\nUser-Agent"), "{sent}");
        assert!(sent.contains("\r\nhost: x\r\n") && !sent.contains("content-length"), "{sent}");
        assert_eq!(check("h").unwrap().duration_ms, Some(10_000));
    }

    #[test]
    fn the_ai_routes_have_a_body_of_their_own() {
        for route in ["/v1/chat", "/v1/chat/completions", "/v1/messages"] {
            let options = check(&format!("h{route} --stream")).unwrap();
            let Body::Text(text) = &options.body else { panic!("{route}") };
            let body: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(body["stream"], true);
            assert_eq!(options.method, "POST");
        }
        assert_eq!(check("h/v1/chat -X GET").unwrap().body, Body::Nothing);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, want) in [
            ("", "bench needs a URL, for example http://127.0.0.1:8080/health"),
            ("h h", "bench: h is not understood; see neurohttp --help"),
            ("h --frob", "bench: --frob is not understood; see neurohttp --help"),
            ("h -c 0", "-c 0: a number from 1 to 50000 is expected"),
            ("h -n x", "-n x: a number from 1 is expected"),
            ("h -d 5d", "-d 5d: a duration such as 500ms, 10s or 2m is expected"),
            ("h -H", "-H needs a header, Name: value"),
            ("h -H x", "-H x: Name: value is expected"),
            ("h -H content-length:4", "-H content-length:4: this one follows from the body"),
            ("h -X GE(T", "bench: GE(T is no method that can be sent"),
            ("ftp://h", "ftp://h: http:// or https:// is expected"),
        ] {
            assert_eq!(check(line), Err(want.to_owned()), "{line}");
        }
    }
}
