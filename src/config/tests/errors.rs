//! Errors: what is wrong, and where.

use super::*;

/// Wrong: a slip in the file passes, or the error points elsewhere.
#[test]
fn errors_name_line_and_column() {
    fn check(text: &str, expected: &str) {
        assert_eq!(error(from_text(text)), format!("config_text:{expected}"), "{text}");
    }
    // Grammar.
    check("[server", "1:8: unclosed table, expected `]`");
    check("[server]\nworkers = ", "2:11: string values must be quoted, expected literal string");
    check("[server]\nworkers = 1\nworkers = 2\n", "3:1: duplicate key");
    check("[server]\nlisten = \"a", "2:12: invalid basic string, expected `\"`");
    // Names.
    check("[sever]\n", "1:2: unknown table `sever`, expected `server`");
    check(
        "port = 1\n",
        "1:1: unknown table `port`, expected one of server, limits, timeouts, tls, auth, key, \
         admin, provider, model, retry, breaker, hedge, compression, cache, firewall, guard, \
         dialects, optimizer, plugins, plugin, telemetry, log",
    );
    check("[server]\nworker = 1\n", "2:1: unknown key `worker` in [server], expected `workers`");
    check(
        "[retry]\nx.y = 1\n",
        "2:1: unknown key `x` in [retry], expected one of attempts, backoff, budget",
    );
    check(
        "[[provider]]\nname = \"a\"\nkind = \"openai\"\nurl = \"\"\n",
        "4:1: unknown key `url` in [[provider]], expected one of name, kind, base_url, api_key, \
         connect_timeout, first_token_timeout, idle_timeout, total_timeout, max_connections, \
         proxy, health_path, health_interval, ca_file",
    );
    check("[log]\n\"le\\nvel\" = 1\n", "2:1: unknown key `le\\nvel` in [log], expected `level`");
    // Types.
    check(
        "[server]\n  workers = \"four\"\n",
        "2:13: `workers` is a string, expected an integer from 0 to 1024",
    );
    check("[server]\nreuse_port = 1\n", "2:14: `reuse_port` is an integer, expected true or false");
    check("[log]\nfile = true\n", "2:8: `file` is true or false, expected a string");
    check("[auth]\nkeys = \"k\"\n", "2:8: `keys` is a string, expected a list");
    check("[auth]\nkeys = [\"k\", 5]\n", "2:14: `keys` is an integer, expected a string");
    check(
        "[cache]\nttl = 1.5\n",
        "2:7: `ttl` is a fraction, expected an integer from 1 to 31536000",
    );
    check("server = 1\n", "1:10: `server` is an integer, expected a table [server]");
    check("[[server]]\n", "1:1: `server` is a list, expected a table [server]");
    check("[provider]\n", "1:1: `provider` is a table, expected tables [[provider]]");
    check("provider = [1]\n", "1:13: `provider` is an integer, expected a table [[provider]]");
    check("[plugin]\nlimiter = 1\n", "2:11: `limiter` is an integer, expected a table");
    // Values.
    check(
        "[server]\nworkers = 1025\n",
        "2:11: `workers` is 1025, expected an integer from 0 to 1024",
    );
    check("[server]\nbacklog = -1\n", "2:11: `backlog` is -1, expected an integer from 1 to 65535");
    check(
        "[limits]\nbody = 99999999999999999999\n",
        "2:8: the integer is too large, expected at most 64 bits",
    );
    check("[server]\nlisten = []\n", "2:10: `listen` has 0 addresses, expected 1 to 64");
    check(
        "[server]\nlisten = [\"127.0.0.1:80\", \"nginx.org:80\"]\n",
        "2:27: \"nginx.org\" is not an address, expected one such as 127.0.0.1:8080, [::1]:8080, \
         *:8080 or unix:/PATH",
    );
    check(
        "[server]\nlisten = [\"127.0.0.1:80\", \"localhost:80\"]\n",
        "2:27: `listen` names \"127.0.0.1:80\" twice, expected each address once",
    );
    check(
        "[cache]\nwhen = \"never\"\n",
        "2:8: `when` is \"never\", expected one of deterministic, always",
    );
    check(
        "[firewall]\nallow = [\"10.0.0.0/8\",\n \"10.0.0/8\"]\n",
        "3:2: `allow` holds \"10.0.0/8\", expected an address range such as \"10.0.0.0/8\"",
    );
    // Columns count characters, not bytes.
    check(
        "[log]\nfile = \"äöü\" # ö\nlevel = 1\n",
        "3:9: `level` is an integer, expected one of \
        error, warn, info, debug, trace",
    );
    check("plugin = { \"ü\" = 1 }\n", "1:18: `ü` is an integer, expected a table");
    check(
        "\u{feff}workers = 1\n",
        "1:1: unknown table `workers`, expected one of server, limits, \
        timeouts, tls, auth, key, admin, provider, model, retry, breaker, hedge, compression, cache, \
        firewall, guard, dialects, optimizer, plugins, plugin, telemetry, log",
    );
}

/// Wrong: providers, models and keys that do not fit together are found at the first request.
#[test]
fn tables_must_fit_together() {
    const OPENAI: &str = "[[provider]]\nname = \"openai\"\napi_key = \"k\"\n";
    fn check(text: &str, expected: &str) {
        let text = format!("{OPENAI}{text}");
        assert_eq!(error(from_text(&text)), format!("config_text:{expected}"), "{text}");
    }
    check("[[provider]]\nkind = \"groq\"\n", "4:1: [[provider]] has no `name`, expected one");
    check(
        "[[provider]]\nname = \"openai\"\n",
        "5:8: two [[provider]] are named \"openai\", expected each name once",
    );
    check(
        "[[provider]]\nname = \"a/b\"\n",
        "5:8: `name` is \"a/b\", expected a provider's name of 1 to 256 characters without blank \
         or slash",
    );
    check(
        "[[provider]]\nname = \"mine\"\n",
        &format!("4:1: provider \"mine\" has no `kind`, expected {}", kinds::expected()),
    );
    check(
        "[[provider]]\nname = \"mine\"\nkind = \"opnai\"\n",
        &format!("6:8: `kind` is \"opnai\", expected {}", kinds::expected()),
    );
    check(
        "[[provider]]\nname = \"mine\"\nkind = \"openai\"\nbase_url = \"host/v1\"\n",
        "7:12: `base_url` is \"host/v1\", expected http://HOST[:PORT][/PATH] or https://… without \
         user, query or fragment",
    );
    // What may be a password is not repeated.
    check(
        "[[provider]]\nname = \"mine\"\nkind = \"openai\"\nproxy = \"https://u:p@h:1\"\n",
        "7:9: `proxy` is not usable, expected http://[USER:PASSWORD@]HOST:PORT, or nothing",
    );
    // Nor is what may be a key.
    for field in ["Bearer k", "x y: k", "x: ", ": k"] {
        check(
            &format!("[telemetry]\nheaders = [\"x: k\", \"{field}\"]\n"),
            "5:20: `headers[1]` is not usable, expected \"NAME: VALUE\"",
        );
    }
    check(
        "[[model]]\nname = \"fast\"\n",
        "4:1: model \"fast\" has no `targets`, expected at least one",
    );
    check(
        "[[model]]\nname = \"fast\"\ntargets = [{ provider = \"opnai\" }]\n",
        "6:25: unknown provider \"opnai\", expected `openai`",
    );
    check(
        "[[model]]\nname = \"fast\"\ntargets = [{ model = \"x\" }]\n",
        "6:12: the target has no `provider`, expected one's name",
    );
    check(
        "[[model]]\nname = \"fast\"\ntargets = [{ provider = \"openai\", weight = 0 }]\n",
        "6:44: `weight` is 0, expected an integer from 1 to 1000000",
    );
    check(
        "[[model]]\nname = \"fast\"\ntargets = [{ provider = \"openai\", wait = 0 }]\n",
        "6:35: unknown key `wait` in targets, expected one of provider, model, weight, \
         capabilities, context_length, input_price, output_price, cached_price, \
         cache_write_price",
    );
    check(
        "[[model]]\nname = \"fast\"\ntargets = [{ provider = \"openai\", input_price = -1 }]\n",
        "6:49: `input_price` is -1, expected a number from 0 to 1000000 with at most 6 decimals",
    );
    check(
        "[[model]]\nname = \"fast\"\ntargets = [\"openai\"]\n",
        "6:12: `targets` is a string, expected tables such as { provider = \"openai\" }",
    );
    check(
        "[[model]]\nname = \"fast\"\nstrategy = \"random\"\n",
        "6:12: `strategy` is \"random\", expected one of priority, weighted, round_robin, \
         least_latency, least_busy, hash",
    );
    for (hash_on, wrong) in [("header:", true), ("header:a b", true), ("ip", true), ("user", false)]
    {
        let text = format!("[[model]]\nname = \"fast\"\nhash_on = \"{hash_on}\"\n");
        if wrong {
            check(
                &text,
                &format!("6:11: `hash_on` is \"{hash_on}\", expected \"user\" or \"header:NAME\""),
            );
        }
    }
    const FAST: &str = "targets = [{ provider = \"openai\", model = \"m\" }]\n";
    check(
        &format!(
            "[[model]]\nname = \"a\"\n{FAST}[[model]]\nname = \"b\"\naliases = [\"c\", \"a\"]\n{FAST}"
        ),
        "9:17: the name \"a\" is taken by model \"a\", expected each name and alias once",
    );
    check(
        &format!("[[model]]\nname = \"a\"\naliases = [\"*\"]\n{FAST}"),
        "6:12: `aliases` is \"*\", expected a name: only `name` can be \"*\"",
    );
    check(
        &format!(
            "[[model]]\nname = \"a\"\ndefault = true\n{FAST}\
             [[model]]\nname = \"b\"\ndefault = true\n{FAST}"
        ),
        "10:11: models \"a\" and \"b\" are both the default, expected at most one",
    );
    check(
        "[[model]]\nname = \"*\"\ntargets = [{ provider = \"openai\" }]\ndefault = true\n",
        "7:11: model \"*\" is the default and a target of it has no `model`, expected every target \
         to name one",
    );
    check("[[key]]\nname = \"team\"\n", "4:1: [[key]] \"team\" has no `key`, expected one");
    check(
        "[auth]\nkeys = [\"a\", \"\"]\n",
        "5:14: `keys` holds an empty key, expected one of at \
        least one character",
    );
    check(
        "[auth]\nkeys = [\"a\"]\n[[key]]\nname = \"team\"\nkey = \"a\"\n",
        "8:7: [[key]] \"team\" has the same key as [auth] keys, expected one of its own",
    );
    check(
        "[[key]]\nname = \"x\"\nkey = \"a\"\n[[key]]\nname = \"y\"\nkey = \"a\"\n",
        "9:7: [[key]] \"y\" has the same key as \"x\", expected one of its own",
    );
    check(
        "[admin]\nkey = \"env:NONE\"\n",
        "5:7: `admin.key` reads the variable NONE, which is not set, expected a value",
    );
    check("[admin]\nkey = \"env:\"\n", "5:7: `key` names no variable, expected \"env:NAME\"");
    check(
        "[auth]\nkeys = [\"a\\nb\"]\n",
        "5:9: `auth.keys[0]` holds a control character, expected text that fits in a header",
    );
}

/// Wrong: hostile text takes the process down or runs away with its memory.
#[test]
fn hostile_text_is_an_error() {
    let nested = format!("plugin = {}", "{ a = ".repeat(60_000));
    let dotted = format!("[plugin.x]\n{}b = 1\n", "a.".repeat(10_000));
    let lists = format!("[plugin.x]\na = {}", "[".repeat(100_000));
    let many = format!("[auth]\nkeys = [{}]\n", "\"k\",".repeat(10_001));
    let tables: String = (0..10_001)
        .map(|index| format!("[[key]]\nname = \"{index}\"\nkey = \"{index}\"\n"))
        .collect();
    for text in [nested, dotted, lists, many, tables] {
        let error = error(from_text(&text));
        assert!(error.starts_with("config_text:"), "{error}");
        assert!(error.len() < 500 && !error.contains('\n'), "{error}");
    }
    let long = "x".repeat((4 << 20) + 1);
    assert!(error(from_text(&long)).contains("too large"));
    let key = format!("{} = 1", "k".repeat(100_000));
    assert!(error(from_text(&key)).len() < 500);
}
