//! The keys of the configuration: one struct for each table, one field for each key, named like
//! it. Adding a key means adding a line here and one in `config/neurohttp.toml`; a test compares
//! the two.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::check;
use super::choice::{
    CacheWhen, Capability, DroppedMembers, GuardAction, HashOn, LogFormat, LogLevel, Strategy,
};
use super::cidr::Cidr;
use super::decimal::Decimal;
use super::listen::Listen;
use super::schema::Rule::{Any, MaskedUrl, OneOrMany, Range, Text};
use super::schema::section;
use super::secret::Secret;

/// The longest wait that can be configured, in milliseconds: a day.
const WAIT_MAX_MS: u64 = 86_400_000;
/// The highest price, in US dollars for a million tokens.
const PRICE_MAX: u64 = 1_000_000;
/// The most bytes a limit can name: 1 TiB.
const BYTES_MAX: u64 = 1 << 40;

/// Where a server listens when nothing says otherwise.
fn default_listen() -> Vec<Listen> {
    vec![Listen::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080))]
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

section! {
    /// `[server]`: addresses, threads and connections.
    Server {
        /// Addresses to listen on; at least one.
        listen: Vec<Listen> = default_listen(), OneOrMany;
        /// Worker threads; 0: one per core.
        workers: u32 = 0, Range(0, 1024);
        /// Threads for what may block, started on need; 0: 4 per core, and more as the load asks.
        blocking_threads: u32 = 0, Range(0, 4096);
        /// Jobs that may wait for such a thread; beyond it a request is answered 503.
        blocking_queue: u32 = 1024, Range(0, 1_000_000);
        /// Connections open at once, over all workers.
        max_connections: u32 = 10_000, Range(1, 10_000_000);
        /// Connections the system may hold before they are accepted.
        backlog: u32 = 1024, Range(1, 65_535);
        /// Other processes may share the port.
        reuse_port: bool = false, Any;
    }

    /// `[limits]`, in bytes unless said otherwise. What exceeds one is answered 414, 431 or 413.
    Limits {
        /// The request line.
        request_line: u32 = 8192, Range(64, 1 << 20);
        /// All header fields together.
        header_section: u32 = 32_768, Range(256, 16 << 20);
        /// One request body.
        body: u64 = 33_554_432, Range(0, BYTES_MAX);
        /// Connections of one client address; 0: unlimited.
        connections_per_address: u32 = 0, Range(0, 10_000_000);
        /// All AI bodies in memory together; beyond it 503.
        ai_bodies: u64 = 268_435_456, Range(65_536, BYTES_MAX);
    }

    /// `[timeouts]`, in milliseconds.
    Timeouts {
        /// The whole request head; then 408 and close.
        header: u32 = 10_000, Range(1, WAIT_MAX_MS);
        /// Between two reads of a body.
        body: u32 = 30_000, Range(1, WAIT_MAX_MS);
        /// Between two requests of a connection.
        idle: u32 = 75_000, Range(1, WAIT_MAX_MS);
        /// A client that takes nothing.
        write: u32 = 30_000, Range(1, WAIT_MAX_MS);
        /// What is under way when the server stops.
        drain: u32 = 30_000, Range(0, WAIT_MAX_MS);
    }

    /// One `[[tls]]`: a certificate, chosen by the name the client asks for.
    TlsCertificate {
        /// Path of the PEM chain.
        cert: String = String::new(), Any;
        /// Path of the PEM private key.
        key: String = String::new(), Any;
        /// Path of the PEM authorities whose client certificates are asked for; empty: none.
        client_ca: String = String::new(), Any;
    }

    /// `[auth]`: who may use `/v1/*`.
    Auth {
        /// Keys accepted as `Authorization: Bearer KEY` or `x-api-key`.
        keys: Vec<Secret> = Vec::new(), Any;
        /// Without any key, answer others than loopback all the same.
        open: bool = false, Any;
    }

    /// One `[[key]]`: a key with a name and limits of its own.
    Key {
        /// What logs and statistics of the operator call it.
        name: String = String::new(), Text(check::plain_name);
        /// The key itself.
        key: Secret = Secret::default(), Any;
        /// Models it may use; empty: all.
        models: Vec<String> = Vec::new(), Text(check::model_name);
        /// Requests in a minute; 0: unlimited.
        requests_per_minute: u32 = 0, Range(0, 100_000_000);
        /// Tokens in a minute, sent and received; 0: unlimited.
        tokens_per_minute: u32 = 0, Range(0, 4_000_000_000);
    }

    /// `[admin]`: who may use `/admin/*` and `/dashboard`.
    Admin {
        /// The key; none: only from loopback.
        key: Option<Secret> = None, Any;
    }

    /// One `[[provider]]`: a service that runs models.
    Provider {
        /// What `[[model]]` targets and `provider/model` call it.
        name: String = String::new(), Text(check::provider_name);
        /// One of [`kinds::KINDS`](super::kinds::KINDS); by default the kind of the same name.
        kind: String = String::new(), Text(check::kind_name);
        /// Where its API begins; by default the kind's official address. No slash at the end.
        base_url: String = String::new(), Text(check::base_url);
        /// The credential sent to it.
        api_key: Option<Secret> = None, Any;
        /// Milliseconds for name, connection and TLS.
        connect_timeout: u32 = 3000, Range(1, WAIT_MAX_MS);
        /// Milliseconds to the first token of a stream.
        first_token_timeout: u32 = 60_000, Range(1, WAIT_MAX_MS);
        /// Milliseconds between two chunks.
        idle_timeout: u32 = 300_000, Range(1, WAIT_MAX_MS);
        /// Milliseconds for the whole answer.
        total_timeout: u32 = 600_000, Range(1, WAIT_MAX_MS);
        /// Connections of the whole process, divided over the workers.
        max_connections: u32 = 1024, Range(1, 65_535);
        /// `http://…` proxy; empty: the usual `http_proxy` variables. May hold a password: print
        /// it through the section only.
        proxy: String = String::new(), MaskedUrl(check::proxy_url);
        /// Path below `base_url` that is asked whether the provider is well; empty: none.
        health_path: String = String::new(), Text(check::health_path);
        /// Milliseconds between two such questions.
        health_interval: u32 = 10_000, Range(100, WAIT_MAX_MS);
        /// Path of the PEM of a private authority, beside the system's; empty: none.
        ca_file: String = String::new(), Any;
    }

    /// One element of `targets` of a `[[model]]`.
    ModelTarget {
        /// Name of a `[[provider]]`.
        provider: String = String::new(), Text(check::provider_name);
        /// The provider's name of the model; none: the client's name goes through.
        model: Option<String> = None, Text(check::model_name);
        /// Its share, for the strategies that weigh.
        weight: u32 = 1, Range(1, 1_000_000);
        /// What it can do; empty: what the model says.
        capabilities: Vec<Capability> = Vec::new(), Any;
        /// Tokens of a request and its answer together, at most; 0: what the model says.
        context_length: u32 = 0, Range(0, 1_000_000_000);
        /// US dollars for a million tokens read; all four 0: what the model says.
        input_price: Decimal = Decimal::default(), Range(0, PRICE_MAX);
        /// The same for tokens written.
        output_price: Decimal = Decimal::default(), Range(0, PRICE_MAX);
        /// The same for tokens read from the provider's cache; 0: as any token read.
        cached_price: Decimal = Decimal::default(), Range(0, PRICE_MAX);
        /// The same for tokens put into the provider's cache; 0: as any token read.
        cache_write_price: Decimal = Decimal::default(), Range(0, PRICE_MAX);
    }

    /// One `[[model]]`: a name that clients may ask for.
    Model {
        /// The name; `*` stands for every name that nothing else matches.
        name: String = String::new(), Text(check::model_name);
        /// Further names.
        aliases: Vec<String> = Vec::new(), Text(check::alias);
        /// Where it is run; at least one.
        targets: Vec<ModelTarget> = Vec::new(), Any;
        /// How a target is chosen.
        strategy: Strategy = Strategy::Priority, Any;
        /// What the strategy `hash` looks at.
        hash_on: HashOn = HashOn::User, Any;
        /// What its targets can do, unless they say so themselves; empty: anything.
        capabilities: Vec<Capability> = Vec::new(), Any;
        /// Tokens of a request and its answer together, at most; 0: not known.
        context_length: u32 = 0, Range(0, 1_000_000_000);
        /// US dollars for a million tokens read, unless a target says its own prices; 0: not known.
        input_price: Decimal = Decimal::default(), Range(0, PRICE_MAX);
        /// The same for tokens written.
        output_price: Decimal = Decimal::default(), Range(0, PRICE_MAX);
        /// The same for tokens read from the provider's cache; 0: as any token read.
        cached_price: Decimal = Decimal::default(), Range(0, PRICE_MAX);
        /// The same for tokens put into the provider's cache; 0: as any token read.
        cache_write_price: Decimal = Decimal::default(), Range(0, PRICE_MAX);
        /// It answers requests that name no model.
        default: bool = false, Any;
    }

    /// `[retry]`: before the first byte of an answer.
    Retry {
        /// Further tries over the targets.
        attempts: u32 = 2, Range(0, 100);
        /// Milliseconds before the first of them on the same target; doubles.
        backoff: u32 = 100, Range(0, 60_000);
        /// Further tries for each hundred requests, beyond a small reserve.
        budget: u32 = 20, Range(0, 100_000);
    }

    /// `[breaker]`: when a target is left alone for a while.
    Breaker {
        /// Failed answers beyond the good ones at which it is; 0: never.
        failures: u32 = 5, Range(0, 1_000_000);
        /// Milliseconds until one request tries it again; doubles each time that fails.
        pause: u32 = 1000, Range(1, WAIT_MAX_MS);
        /// The longest such pause, in milliseconds.
        pause_max: u32 = 30_000, Range(1, WAIT_MAX_MS);
    }

    /// `[hedge]`: a second attempt beside one that is late.
    Hedge {
        /// Second attempts for each hundred requests; 0: none.
        share: u32 = 0, Range(0, 100);
        /// Milliseconds before which none is started.
        after_min: u32 = 10, Range(1, WAIT_MAX_MS);
    }

    /// `[compression]`: answers to clients that take a content coding.
    Compression {
        /// On or off.
        enable: bool = false, Any;
        /// The codings that are spoken; of those a client likes the same, the first.
        codings: Vec<String> = words(&["zstd", "br", "gzip"]), Text(check::coding);
        /// 1, the quickest, to 9, the smallest.
        level: u32 = 4, Range(1, 9);
        /// Bytes below which an answer stays as it is.
        min_bytes: u64 = 1024, Range(0, BYTES_MAX);
        /// The types that are compressed; one that ends in `/*` stands for all of its kind.
        types: Vec<String> = words(&[
            "text/*",
            "application/json",
            "application/javascript",
            "application/xml",
            "image/svg+xml",
        ]), Text(check::media_type);
        /// Streams of events too, each event on its own.
        event_streams: bool = false, Any;
    }

    /// `[cache]`: answers of models.
    Cache {
        /// On or off.
        enable: bool = true, Any;
        /// Which requests may be answered from it.
        when: CacheWhen = CacheWhen::Deterministic, Any;
        /// Answers kept.
        max_entries: u32 = 1000, Range(1, 1_000_000_000);
        /// Bytes kept.
        max_bytes: u64 = 67_108_864, Range(1024, BYTES_MAX);
        /// Seconds an answer is kept.
        ttl: u32 = 3600, Range(1, 31_536_000);
    }

    /// `[firewall]`.
    Firewall {
        /// On or off.
        enable: bool = true, Any;
        /// Requests of one client address in a minute; 0: unlimited.
        requests_per_minute: u32 = 0, Range(0, 100_000_000);
        /// Requests that may come at once beyond the rate.
        burst: u32 = 100, Range(0, 100_000_000);
        /// Minutes a blocked address stays blocked.
        block_minutes: u32 = 5, Range(1, 525_600);
        /// Score at which an address is blocked.
        suspicious_threshold: u32 = 50, Range(1, 1_000_000);
        /// Wrong keys at which an address is blocked.
        brute_force_threshold: u32 = 10, Range(1, 1_000_000);
        /// Seconds in which they are counted.
        brute_force_window: u32 = 60, Range(1, 86_400);
        /// Addresses that are never limited or inspected.
        allow: Vec<Cidr> = Vec::new(), Any;
        /// Addresses that are refused at accept.
        deny: Vec<Cidr> = Vec::new(), Any;
        /// Addresses whose `X-Forwarded-For` is believed.
        trusted_proxies: Vec<Cidr> = Vec::new(), Any;
        /// Different paths that are not there, asked for in a minute, at which an address is
        /// blocked as a scanner; 0: never.
        not_found_threshold: u32 = 200, Range(0, 200);
        /// Limits of single routes.
        routes: Vec<RouteRate> = Vec::new(), Any;
        /// Look for attacks in requests.
        inspect: bool = true, Any;
        /// Score from which a request is told in the log.
        log_score: u32 = 3, Range(1, 1000);
        /// Score from which it is refused with 429.
        limit_score: u32 = 4, Range(1, 1000);
        /// Score from which it is refused with 403.
        block_score: u32 = 5, Range(1, 1000);
        /// Rules (`sqli.union`) or families (`sqli`) that are left out.
        disable_rules: Vec<String> = Vec::new(), Text(check::not_empty);
        /// Rules or families that only tell what they find.
        dry_run_rules: Vec<String> = Vec::new(), Text(check::not_empty);
        /// Files of further rules: TOML, or `pattern,severity` lines in one named `*.csv`.
        rules: Vec<String> = Vec::new(), Text(check::not_empty);
        /// Only tell what would be refused.
        dry_run: bool = false, Any;
    }

    /// One element of `routes` of `[firewall]`: a limit for each client.
    RouteRate {
        /// A path, or with a `*` at its end all that begin so.
        path: String = String::new(), Text(check::route_path);
        /// Requests in a minute.
        requests_per_minute: u32 = 60, Range(1, 100_000_000);
        /// Requests that may come at once.
        burst: u32 = 10, Range(1, 100_000_000);
    }

    /// `[guard]`: what is done about what prompts and answers say.
    TextGuard {
        /// On or off.
        enable: bool = false, Any;
        /// Keys, tokens and passwords in prompts.
        secrets_prompts: GuardAction = GuardAction::Redact, Any;
        /// The same in answers.
        secrets_answers: GuardAction = GuardAction::Redact, Any;
        /// Numbers of cards and accounts, addresses, telephone numbers in prompts.
        personal_prompts: GuardAction = GuardAction::Log, Any;
        /// The same in answers.
        personal_answers: GuardAction = GuardAction::Off, Any;
        /// Instructions against those of the operator in prompts and results of tools.
        injection_prompts: GuardAction = GuardAction::Log, Any;
        /// The same in answers.
        injection_answers: GuardAction = GuardAction::Off, Any;
        /// Score from which a text counts as an injection.
        injection_score: u32 = 5, Range(1, 1000);
    }

    /// `[dialects]`.
    Dialects {
        /// What becomes of a request that cannot reach its provider whole.
        dropped: DroppedMembers = DroppedMembers::Warn, Any;
        /// Ask for the usage of OpenAI's streams that pass through.
        stream_usage: bool = false, Any;
    }

    /// `[optimizer]`.
    Optimizer {
        /// On or off.
        enable: bool = true, Any;
        /// Limits how many requests wait for a blocking thread.
        blocking: bool = true, Any;
        /// Limits how many requests wait for an upstream's first byte.
        upstreams: bool = true, Any;
        /// Limits how late a handler begins in a turn of the loop.
        turns: bool = true, Any;
        /// Moves requests between a model's targets when one becomes slow or fails.
        weights: bool = true, Any;
        /// Lowers the firewall's rate limits while requests are refused for want of room.
        rates: bool = true, Any;
        /// Keeps fewer answers, and then takes no further connections, while memory is short.
        memory: bool = true, Any;
        /// Gives the blocking pool more threads while requests wait for one and more get done by it.
        threads: bool = true, Any;
        /// Parks workers while the process may use fewer processors than at the start.
        workers: bool = true, Any;
    }

    /// `[plugins]`.
    Plugins {
        /// Where plugins are looked for.
        dir: String = String::new(), Any;
        /// Plugins to load, in this order.
        load: Vec<String> = Vec::new(), Text(check::not_empty);
    }

    /// `[telemetry]`: traces and metrics for an OpenTelemetry collector.
    Telemetry {
        /// Where OTLP over HTTP is taken, what stands before `/v1/traces`; empty: nothing is sent.
        endpoint: String = String::new(), Text(check::base_url);
        /// Header fields that are sent with it, `NAME: VALUE`.
        headers: Vec<Secret> = Vec::new(), Any;
        /// `http://…` proxy on the way to the collector; empty: the usual `http_proxy` variables. May
        /// hold a password: print with care.
        proxy: String = String::new(), MaskedUrl(check::proxy_url);
        /// PEM of a private authority for an https collector, beside the system's.
        ca_file: String = String::new(), Any;
        /// What the collector calls this server.
        service_name: String = "neurohttp".to_owned(), Text(check::plain_name);
        /// The share of the traces that begin here which are recorded.
        sample_ratio: Decimal = Decimal::whole(1), Range(0, 1);
        /// Milliseconds between two deliveries.
        interval: u32 = 10_000, Range(100, WAIT_MAX_MS);
    }

    /// `[log]`.
    Log {
        /// The least important messages that are written.
        level: LogLevel = LogLevel::Info, Any;
        /// Lines for people or for machines.
        format: LogFormat = LogFormat::Text, Any;
        /// Path of the file; empty: stderr.
        file: String = String::new(), Any;
        /// A line for each request.
        access: bool = false, Any;
        /// Of so many requests one gets its line; those answered with 500 and above always do.
        access_every: u32 = 1, Range(1, 1_000_000_000);
    }
}
