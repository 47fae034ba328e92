//! Keys of providers and clouds, private keys, web tokens, and what is said to be a password.
//!
//! The forms are those that the issuers document or secret scanners (GitHub's and GitLab's pattern
//! lists, gitleaks, TruffleHog) look for.
#![forbid(unsafe_code)]

use super::Category;
use super::scan::{Found, Tail, Try, is_token};

/// What may follow a prefix.
#[derive(Clone, Copy)]
enum Alphabet {
    /// Letters, digits, `-` and `_`.
    Url,
    /// Letters and digits.
    Alnum,
    /// Capitals and digits.
    Upper,
}

impl Alphabet {
    fn has(self, byte: u8) -> bool {
        match self {
            Alphabet::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Alphabet::Alnum => byte.is_ascii_alphanumeric(),
            Alphabet::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        }
    }
}

use Alphabet::{Alnum, Upper, Url};

/// Prefix, name, what follows it and how many bytes of that are enough. Longer prefixes first.
const TOKENS: &[(&str, &str, Alphabet, usize)] = &[
    ("sk-ant-", "anthropic_key", Url, 20),
    ("sk-proj-", "openai_key", Url, 20),
    ("sk-svcacct-", "openai_key", Url, 20),
    ("sk-admin-", "openai_key", Url, 20),
    ("sk-or-v1-", "openrouter_key", Alnum, 32),
    ("sk_live_", "stripe_key", Alnum, 16),
    ("sk_test_", "stripe_key", Alnum, 16),
    ("rk_live_", "stripe_key", Alnum, 16),
    ("whsec_", "stripe_key", Alnum, 24),
    ("sk-", "api_key", Alnum, 20),
    ("gsk_", "groq_key", Alnum, 32),
    ("xai-", "xai_key", Alnum, 32),
    ("pplx-", "perplexity_key", Alnum, 32),
    ("AIza", "google_key", Url, 35),
    ("ya29.", "google_token", Url, 20),
    ("GOCSPX-", "google_secret", Url, 20),
    ("AKIA", "aws_key", Upper, 16),
    ("ASIA", "aws_key", Upper, 16),
    ("ABIA", "aws_key", Upper, 16),
    ("github_pat_", "github_token", Url, 22),
    ("ghp_", "github_token", Alnum, 30),
    ("gho_", "github_token", Alnum, 30),
    ("ghu_", "github_token", Alnum, 30),
    ("ghs_", "github_token", Alnum, 30),
    ("ghr_", "github_token", Alnum, 30),
    ("glpat-", "gitlab_token", Url, 20),
    ("xoxb-", "slack_token", Url, 20),
    ("xoxp-", "slack_token", Url, 20),
    ("xoxa-", "slack_token", Url, 20),
    ("xoxr-", "slack_token", Url, 20),
    ("xoxs-", "slack_token", Url, 20),
    ("xapp-", "slack_token", Url, 20),
    ("hf_", "huggingface_token", Alnum, 30),
    ("r8_", "replicate_token", Alnum, 30),
    ("npm_", "npm_token", Alnum, 36),
    ("pypi-AgEI", "pypi_token", Url, 40),
    ("dop_v1_", "digitalocean_token", Alnum, 40),
    ("shpat_", "shopify_token", Alnum, 32),
    ("SG.", "sendgrid_key", Url, 20),
    ("dckr_pat_", "docker_token", Url, 20),
    ("hvs.", "vault_token", Url, 24),
    ("AGE-SECRET-KEY-1", "age_key", Upper, 40),
];

/// Names of fields and variables whose value is a secret, as they end, in lower case.
const NAMES: &[&str] = &[
    "api_key",
    "apikey",
    "api-key",
    "secret",
    "secret_key",
    "secretkey",
    "secret-key",
    "access_token",
    "accesstoken",
    "access-token",
    "auth_token",
    "authtoken",
    "auth-token",
    "refresh_token",
    "client_secret",
    "secret_access_key",
    "access_key",
    "accesskey",
    "private_key",
    "account_key",
    "accountkey",
    "password",
    "passwd",
    "pwd",
    "token",
    "bearer",
];

/// The longest name of a value, and the shortest and the longest value that is looked at.
const NAME_BYTES_MAX: usize = 64;
const VALUE_BYTES_MIN: usize = 16;
const VALUE_BYTES_ENOUGH: usize = 24;

/// More of a token than this is another text.
const TOKEN_BYTES_MAX: u32 = 8192;
/// More of a private key than this is no key.
const PEM_BYTES_MAX: u32 = 16_384;

fn found(rule: &'static str, skip: usize, len: usize, tail: Tail) -> Try {
    Try::Found(Found { category: Category::Secrets, rule, skip, len, tail, score: 0 })
}

/// What begins at the beginning of `text`.
pub fn at(text: &[u8], is_end: bool) -> Try {
    let Some(&first) = text.first() else { return Try::No };
    if first == b'-' {
        return private_key(text, is_end);
    }
    if !first.is_ascii_alphabetic() && first != b'_' {
        return Try::No;
    }
    for &(prefix, rule, alphabet, enough) in TOKENS {
        let prefix = prefix.as_bytes();
        if prefix.first() != Some(&first) {
            continue;
        }
        let shared = text.len().min(prefix.len());
        if text.get(..shared) != prefix.get(..shared) {
            continue;
        }
        let rest = text.get(prefix.len()..).unwrap_or_default();
        let run = rest.iter().take(enough).take_while(|&&byte| alphabet.has(byte)).count();
        if run == enough {
            if has_variety(rest.get(..run).unwrap_or_default()) {
                return found(rule, 0, prefix.len() + run, Tail::Token(TOKEN_BYTES_MAX));
            }
        } else if shared + run == text.len() && !is_end {
            return Try::Open;
        }
    }
    match web_token(text, is_end) {
        Try::No => named_value(text, is_end),
        tried => tried,
    }
}

/// A key has not one letter only, as the stars and crosses of a masked one.
fn has_variety(bytes: &[u8]) -> bool {
    let mut seen = [false; 256];
    bytes.iter().for_each(|&byte| seen[usize::from(byte)] = true);
    seen.iter().filter(|&&is_seen| is_seen).count() >= 6
}

/// `-----BEGIN … PRIVATE KEY-----` (RFC 7468).
fn private_key(text: &[u8], is_end: bool) -> Try {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const LINE_BYTES_MAX: usize = 64;
    let shared = text.len().min(BEGIN.len());
    if text.get(..shared) != BEGIN.get(..shared) {
        return Try::No;
    }
    let line = text.get(..text.len().min(LINE_BYTES_MAX)).unwrap_or_default();
    let label = line.get(BEGIN.len()..).unwrap_or_default();
    let bytes = label.iter().take_while(|b| b.is_ascii_uppercase() || **b == b' ').count();
    let name = label.get(..bytes).unwrap_or_default();
    let dashes = label.get(bytes..).unwrap_or_default();
    if BEGIN.len() + bytes == text.len() || dashes.len() < 5 && dashes.iter().all(|&b| b == b'-') {
        return if is_end || line.len() == LINE_BYTES_MAX { Try::No } else { Try::Open };
    }
    let is_key = name.ends_with(b"PRIVATE KEY") || name.ends_with(b"PRIVATE KEY BLOCK");
    if is_key && dashes.starts_with(b"-----") {
        let tail = Tail::Pem(PEM_BYTES_MAX, 0, 0);
        return found("private_key", 0, BEGIN.len() + bytes + 5, tail);
    }
    Try::No
}

/// Two parts of a JSON web token (RFC 7519): each begins as `{"` does in Base64.
fn web_token(text: &[u8], is_end: bool) -> Try {
    const PART_BYTES_MAX: usize = 300;
    const BEGIN: &[u8] = b"eyJ";
    let open = if is_end { Try::No } else { Try::Open };
    let shared = text.len().min(3);
    if text.get(..shared) != BEGIN.get(..shared) {
        return Try::No;
    }
    let part = |from: usize| {
        let rest = text.get(from..).unwrap_or_default().iter();
        rest.take(PART_BYTES_MAX).take_while(|&&byte| Url.has(byte)).count()
    };
    let head = part(0);
    match text.get(head) {
        None => return open,
        Some(b'.') if head >= 10 => {}
        Some(_) => return Try::No,
    }
    let rest = text.get(head + 1..).unwrap_or_default();
    let shared = rest.len().min(3);
    if rest.get(..shared) != BEGIN.get(..shared) {
        return Try::No;
    }
    if rest.len() < 10 && part(head + 1) == rest.len() {
        return open;
    }
    if part(head + 1) < 10 {
        return Try::No;
    }
    found("jwt", 0, head + 1 + 10, Tail::Token(TOKEN_BYTES_MAX))
}

/// `password = "…"`, `API_KEY: …`, `Bearer …`: a value that looks made up by a machine.
fn named_value(text: &[u8], is_end: bool) -> Try {
    let open = if is_end { Try::No } else { Try::Open };
    let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let bytes = text.iter().take(NAME_BYTES_MAX).take_while(is_name).count();
    let name = text.get(..bytes).unwrap_or_default();
    if bytes == text.len() {
        // Held only while it can still become such a name, which a plain word cannot soon.
        return if bytes < NAME_BYTES_MAX && may_become_name(name) { open } else { Try::No };
    }
    let is_secret = NAMES.iter().any(|ending| {
        let from = name.len().wrapping_sub(ending.len());
        name.get(from..).is_some_and(|end| end.eq_ignore_ascii_case(ending.as_bytes()))
            && is_part(name, from)
    });
    if !is_secret {
        return Try::No;
    }
    let is_bearer = name.eq_ignore_ascii_case(b"bearer");
    // Quotes, blanks and the sign between name and value, escaped ones too.
    let between =
        |byte: &&u8| matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b'\\' | b':' | b'=' | b'>');
    let rest = text.get(bytes..).unwrap_or_default();
    let gap = rest.iter().take(9).take_while(between).count();
    let sign = rest.get(..gap).unwrap_or_default();
    if gap == rest.len() {
        return if gap < 9 { open } else { Try::No };
    }
    if gap > 8 || !(is_bearer && gap > 0 || sign.iter().any(|b| matches!(b, b':' | b'='))) {
        return Try::No;
    }
    let rest = rest.get(gap..).unwrap_or_default();
    let is_value = |byte: &&u8| {
        is_token(**byte)
            || matches!(byte, b'.' | b'=' | b'!' | b'@' | b'$' | b'%' | b'^' | b'&' | b'*')
    };
    let value = rest.iter().take(VALUE_BYTES_ENOUGH).take_while(is_value).count();
    let is_cut = value == rest.len() && value < VALUE_BYTES_ENOUGH;
    if is_cut && !is_end {
        return Try::Open;
    }
    let value = rest.get(..value).unwrap_or_default();
    let has = |test: fn(&u8) -> bool| value.iter().any(test);
    let looks_made = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) && has_variety(value);
    // A call, a variable or a path is no value.
    let is_code = value.contains(&b'.') || value.contains(&b'/') && !has(u8::is_ascii_uppercase);
    if value.len() < VALUE_BYTES_MIN || !looks_made || is_code || value.contains(&b'$') {
        return Try::No;
    }
    found("named_secret", bytes + gap, bytes + gap + value.len(), Tail::Token(TOKEN_BYTES_MAX))
}

/// Whether a part of a name begins here, as in `db_password` and `dbPassword`.
fn is_part(name: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|at| name.get(at));
    let is_hump = name.get(at).is_some_and(u8::is_ascii_uppercase);
    before.is_none_or(|b| matches!(b, b'_' | b'-') || is_hump && b.is_ascii_lowercase())
}

/// Whether a word at the end of what there is begins or ends as the name of a secret may: each
/// part between `_` and `-` is one of their words, or the beginning of one.
fn may_become_name(name: &[u8]) -> bool {
    const WORDS: [&[u8]; 12] = [
        b"api",
        b"key",
        b"apikey",
        b"secret",
        b"access",
        b"auth",
        b"refresh",
        b"client",
        b"private",
        b"account",
        b"password",
        b"token",
    ];
    const MORE: [&[u8]; 3] = [b"passwd", b"pwd", b"bearer"];
    let from = (0..name.len()).rev().find(|&at| is_part(name, at)).unwrap_or(0);
    let last = name.get(from..).unwrap_or_default();
    let mut words = WORDS.iter().chain(&MORE);
    let begins = |word: &[u8], part: &[u8]| {
        word.get(..part.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(part))
    };
    last.len() < name.len()
        || words.any(|word| begins(word, last) || last.len() > word.len() && begins(last, word))
}
