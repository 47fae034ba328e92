//! Variables and assignments.

use super::*;

/// Wrong: a variable sets another key than it names, or nothing.
#[test]
fn variables_set_keys() {
    const TEXT: &str = "[[provider]]\nname = \"my-own.ai\"\nkind = \"openai\"\napi_key = \"k\"\n\
        [[model]]\nname = \"Fast\"\ntargets = [{ provider = \"my-own.ai\" }]\n\
        [plugin.Rate-Limit]\nper-minute = 1\n";
    let check = |variables: &[(&str, &str)]| with_environment(TEXT, variables).unwrap();
    let config = check(&[
        ("NEUROHTTP_SERVER__LISTEN", "[::1]:80, localhost:81"),
        ("NEUROHTTP_SERVER__REUSE_PORT", "true"),
        ("NEUROHTTP_AUTH__KEYS", "a,b c"),
        ("NEUROHTTP_LOG__FILE", "42"),
        ("neurohttp_log__level", "\"debug\""),
        ("NEUROHTTP_FIREWALL__ALLOW", "[\"10.0.0.0/8\"]"),
        ("NEUROHTTP_PROVIDER__MY_OWN_AI__BASE_URL", "http://127.0.0.1:1"),
        ("NEUROHTTP_MODEL__FAST__ALIASES", "\"x,y\",\"z\""),
        ("NEUROHTTP_MODEL__FAST__DEFAULT", "true"),
        ("NEUROHTTP_PLUGIN__RATE_LIMIT__PER_MINUTE", "2"),
        ("NEUROHTTP_PLUGIN__OTHER__MODE", "fast"),
        // Not ours to judge.
        ("NEUROHTTP_HOME", "/"),
        ("NEUROHTTP", "1"),
        ("SERVER__LISTEN", "x"),
        ("ÄÖÜ__X", "x"),
    ]);
    let listen: Vec<String> = config.server.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["[::1]:80", "127.0.0.1:81"]);
    assert!(config.server.reuse_port);
    assert_eq!(config.auth.keys, [Secret::new("a"), Secret::new("b c")]);
    assert_eq!(config.log.file, "42");
    assert_eq!(config.log.level, LogLevel::Debug);
    assert_eq!(config.firewall.allow, [Cidr::parse("10.0.0.0/8").unwrap()]);
    assert_eq!(config.provider[0].base_url, "http://127.0.0.1:1");
    assert_eq!(config.model[0].aliases, ["x,y", "z"]);
    assert!(config.model[0].default);
    assert_eq!(config.plugin["Rate-Limit"], "per-minute = 2\n");
    assert_eq!(config.plugin["other"], "mode = \"fast\"\n");
    assert_eq!(check(&[("NEUROHTTP_AUTH__KEYS", "")]).auth.keys, []);

    // A name that no table has makes one.
    let config = check(&[
        ("NEUROHTTP_PROVIDER__NEW__KIND", "vllm"),
        ("NEUROHTTP_KEY__TEAM_A__KEY", "k1"),
        ("NEUROHTTP_KEY__TEAM_A__MODELS", "Fast"),
    ]);
    assert_eq!(config.provider[1].name, "new");
    assert_eq!(config.provider[1].base_url, "http://127.0.0.1:8000/v1");
    assert_eq!((config.key[0].name.as_str(), config.key[0].key.expose()), ("team_a", "k1"));
    assert_eq!(config.key[0].models, ["Fast"]);
}

/// Wrong: a slip in a variable or on the command line is passed over.
#[test]
fn wrong_variables_are_named() {
    fn check(variable: &str, value: &str, expected: &str) {
        let text = "[[provider]]\nname = \"a-b\"\nkind = \"echo\"\n\
                    [[provider]]\nname = \"a_b\"\nkind = \"echo\"\n";
        assert_eq!(
            error(with_environment(text, &[(variable, value)])),
            format!("{variable}: {expected}")
        );
    }
    check("NEUROHTTP_SEVER__LISTEN", "x", "unknown table `sever`, expected `server`");
    check("NEUROHTTP_SERVER__WORKER", "1", "unknown key `worker` in `server`, expected `workers`");
    check(
        "NEUROHTTP_SERVER__WORKERS__X",
        "1",
        "unknown key `workers__x` in `server`, expected \
        one of listen, workers, blocking_threads, blocking_queue, max_connections, backlog, \
        reuse_port",
    );
    check(
        "NEUROHTTP_SERVER__WORKERS",
        "many",
        "`workers` is a string, expected an integer from 0 to 1024",
    );
    check(
        "NEUROHTTP_AUTH__KEYS",
        "[\"a\", b]",
        "not a list, expected TOML or texts between commas",
    );
    check("NEUROHTTP_AUTH__KEYS", "[\"a\"", "not a list, expected TOML or texts between commas");
    check("NEUROHTTP_AUTH__KEYS", "[a, b]", "not a list, expected TOML or texts between commas");
    check(
        "NEUROHTTP_TLS__0__CERT",
        "x",
        "[[tls]] has no names to set one by, expected it in a file",
    );
    check(
        "NEUROHTTP_PROVIDER__KIND",
        "x",
        "names no table, expected NEUROHTTP_PROVIDER__NAME__KEY",
    );
    check(
        "NEUROHTTP_PROVIDER__A_B__KIND",
        "x",
        "means both `provider.a-b` and `provider.a_b`, expected one of them set in another way",
    );
    check(
        "NEUROHTTP_PROVIDER__C__KEY",
        "x",
        "unknown key `key` in `provider`, expected one of name, kind, base_url, api_key, \
         connect_timeout, first_token_timeout, idle_timeout, total_timeout, max_connections, \
         proxy, health_path, health_interval, ca_file",
    );
    check(
        "NEUROHTTP_PROVIDER__C__BASE_URL",
        "http://h",
        &format!("provider \"c\" has no `kind`, expected {}", kinds::expected()),
    );
    check(
        "NEUROHTTP_PROVIDER__C__NAME",
        "x",
        "a table's `name` cannot be changed, expected another \
        key",
    );
    check("NEUROHTTP_PLUGIN__X", "x", "names no key, expected NEUROHTTP_PLUGIN__NAME__KEY");

    fn set(path: &str, value: &str, expected: &str) {
        assert_eq!(error(with_sets("", &[(path, value)])), format!("{path}: {expected}"));
    }
    set("server", "x", "names no key, expected SECTION.KEY or TABLE.NAME.KEY");
    set("sever.listen", "x", "unknown table `sever`, expected `server`");
    set("server.worker", "1", "unknown key `worker` in `server`, expected `workers`");
    set("server.a.workers", "1", "unknown key `a.workers` in `server`, expected `workers`");
    set("provider.kind", "x", "names no table, expected provider.NAME.KEY");
    set("tls.0.cert", "x", "[[tls]] has no names to set one by, expected it in a file");
    set("auth.open", "yes", "`open` is a string, expected true or false");
    let config = with_sets("", &[("provider.my.ai.kind", "vllm"), ("plugin.p.list", "[1, 2]")]);
    let config = config.unwrap();
    assert_eq!(config.provider[0].name, "my.ai");
    assert_eq!(config.plugin["p"], "list = [1, 2]\n");
}
