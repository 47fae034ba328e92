//! Providers of the environment, missing dialects, the open-or-guarded rule.

use super::*;

/// Wrong: a key in the environment is not used, or used for somebody else.
#[test]
fn the_environment_brings_providers() {
    let names = |config: &Config| -> Vec<String> {
        config.provider.iter().map(|it| format!("{} {}", it.name, it.base_url)).collect()
    };
    let config = with_environment("", &[]).unwrap();
    assert_eq!(names(&config), ["echo "]);
    assert!(!config.providers_from_env);
    assert_eq!(config.default_model(), "echo");

    let config = with_environment(
        "",
        &[
            ("GROQ_API_KEY", "gk"),
            ("OPENAI_API_KEY", "ok"),
            ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/"),
            ("MISTRAL_API_KEY", ""),
            ("NEUROHTTP_PROVIDER__GROQ__IDLE_TIMEOUT", "7"),
        ],
    )
    .unwrap();
    assert_eq!(
        names(&config),
        ["openai http://127.0.0.1:9/v1", "groq https://api.groq.com/openai/v1", "echo "]
    );
    assert!(config.providers_from_env);
    assert_eq!(config.provider[0].api_key.as_ref().map(Secret::expose), Some("ok"));
    assert_eq!(config.provider[1].idle_timeout, 7);

    // A provider that variables alone describe came from the environment too.
    let config = with_environment("", &[("NEUROHTTP_PROVIDER__OPENAI__API_KEY", "k")]).unwrap();
    assert_eq!(names(&config), ["openai https://api.openai.com/v1", "echo "]);
    assert!(config.providers_from_env);

    let text = "[[provider]]\nname = \"echo\"\nkind = \"vllm\"\n\
        [[model]]\nname = \"*\"\ntargets = [{ provider = \"echo\" }]\n\
        [[model]]\nname = \"m\"\ntargets = [{ provider = \"echo\" }]\n";
    let config = with_environment(text, &[("OPENAI_API_KEY", "ok")]).unwrap();
    assert_eq!(names(&config), ["echo http://127.0.0.1:8000/v1"]);
    assert!(!config.providers_from_env);
    assert_eq!(config.default_model(), "m");

    assert_eq!(
        error(with_environment("", &[("OPENAI_API_KEY", "k"), ("OPENAI_BASE_URL", "x")])),
        "OPENAI_BASE_URL: is not usable, expected http://HOST[:PORT][/PATH] or https://… without \
         user, query or fragment"
    );
}

/// Wrong: a provider is configured whose dialect nobody speaks, and found out at the first call.
#[test]
fn dialects_that_are_missing_are_said() {
    use kinds::{KINDS, available};
    for kind in KINDS.iter().filter(|kind| !available(kind.dialect)) {
        let text = format!("[[provider]]\nname = \"p\"\nkind = \"{}\"\n", kind.name);
        let expected =
            format!("config_text:3:8: kind \"{}\" is not available in this build", kind.name);
        assert!(error(from_text(&text)).starts_with(&expected), "{text}");
        for variable in kind.key_variables {
            let config = with_environment("", &[(variable, "k")]).unwrap();
            assert_eq!(config.provider.len(), 1);
            assert_eq!(
                config.notes,
                [format!(
                    "{variable} is passed over: providers of kind {} are not available in this \
                     build",
                    kind.name
                )]
            );
        }
    }
    for kind in KINDS.iter().filter(|kind| available(kind.dialect)) {
        for variable in kind.key_variables {
            let config = with_environment("", &[(variable, "k")]).unwrap();
            assert_eq!(config.provider[0].name, kind.name);
            assert_eq!(config.provider[0].base_url, kind.base_url);
        }
    }
}

/// Wrong: a host that wants no environment is configured by it, or cannot name a secret in it.
#[test]
fn only_what_is_named_may_be_read() {
    let environment = [
        ("NEUROHTTP_SERVER__WORKERS", "7"),
        ("OPENAI_API_KEY", "k"),
        ("NEUROHTTP_ENV", "test"),
        ("ADMIN", "secret"),
    ];
    let sources = |env_names_only| Sources {
        text: Some("[admin]\nkey = \"env:ADMIN\"\n"),
        environment: pairs(&environment),
        env_names_only,
        ..Sources::default()
    };
    let named = load(&sources(true)).unwrap();
    assert_eq!((named.server.workers, named.providers_from_env), (0, false));
    assert_eq!(named.admin.key.as_ref().map(Secret::expose), Some("secret"));
    let all = load(&sources(false)).unwrap();
    assert_eq!((all.server.workers, all.providers_from_env), (7, true));
}

/// Wrong: anybody spends the operator's credential.
#[test]
fn exposure_needs_a_guard() {
    const OPEN: &str = "[server]\nlisten = \"0.0.0.0:80\"\n";
    fn check(text: &str, environment: &[(&str, &str)], expected: &str) {
        let config = with_environment(text, environment).unwrap();
        let result = config.exposure_check().map(|()| config);
        assert_eq!(error(result), expected, "{text}");
    }
    let refused = "config_text:2:10: 0.0.0.0:80 is open to others while provider \"openai\" has a \
        credential, expected keys in [auth] or [[key]], auth.open = true, or a loopback address";
    let key = [("OPENAI_API_KEY", "k")];
    check(OPEN, &key, refused);
    check(OPEN, &[], "no error");
    check("", &key, "no error");
    check("[server]\nlisten = [\"unix:/run/nh\", \"[::1]:1\"]\n", &key, "no error");
    check(&format!("{OPEN}[auth]\nopen = true\n"), &key, "no error");
    check(&format!("{OPEN}[auth]\nkeys = [\"k\"]\n"), &key, "no error");
    check(&format!("{OPEN}[[key]]\nname = \"a\"\nkey = \"k\"\n"), &key, "no error");
    assert!(from_text(OPEN).unwrap().is_guarded_only());
    assert!(!from_text("[auth]\nopen = true\n").unwrap().is_guarded_only());
}
