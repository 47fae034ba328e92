//! The order of the layers, and the files among them.

use super::*;

/// Wrong: a layer wins over a later one, or a table is lost in the merge.
#[test]
fn later_layers_win() {
    let directory = Directory::new("layers");
    let file = directory.write(
        "x.toml",
        "[limits]\nrequest_line = 1001\nheader_section = 1001\nbody = 1001\n\
         [timeouts]\nheader = 1001\nbody = 1001\nidle = 1001\n\
         [auth]\nkeys = [\"file\"]\n\
         [[provider]]\nname = \"a\"\nkind = \"openai\"\nmax_connections = 1\n\
         [[provider]]\nname = \"b\"\nkind = \"groq\"\napi_key = \"k\"\n",
    );
    directory.write(
        "x.prod.toml",
        "[limits]\nheader_section = 1002\nbody = 1002\n\
         [timeouts]\nheader = 1002\nbody = 1002\nidle = 1002\n\
         [[provider]]\nname = \"c\"\nkind = \"openai\"\n\
         [[provider]]\nname = \"a\"\nbase_url = \"http://overlay/\"\n",
    );
    let config = load(&Sources {
        file: Some(file.clone()),
        text: Some("[limits]\nbody = 1003\n[timeouts]\nheader = 1003\nbody = 1003\nidle = 1003\n"),
        environment: pairs(&[
            ("NEUROHTTP_ENV", "prod"),
            ("NEUROHTTP_TIMEOUTS__HEADER", "1004"),
            ("NEUROHTTP_TIMEOUTS__BODY", "1004"),
            ("NEUROHTTP_TIMEOUTS__IDLE", "1004"),
            ("NEUROHTTP_SERVER__LISTEN", "127.0.0.1:4"),
        ]),
        listen: Some("127.0.0.1:5".to_owned()),
        sets: pairs(&[
            ("timeouts.body", "1005"),
            ("timeouts.idle", "1"),
            ("timeouts.idle", "1006"),
        ]),
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(config.limits.connections_per_address, 0);
    assert_eq!(config.limits.request_line, 1001);
    assert_eq!(config.limits.header_section, 1002);
    assert_eq!(config.limits.body, 1003);
    assert_eq!(config.timeouts.header, 1004);
    assert_eq!(config.timeouts.body, 1005);
    assert_eq!(config.timeouts.idle, 1006);
    assert_eq!(config.server.listen, [Listen::parse("127.0.0.1:5").unwrap()]);
    assert_eq!(config.files, [file.clone(), directory.0.join("x.prod.toml")]);
    let providers: Vec<(&str, &str, u32)> = config
        .provider
        .iter()
        .map(|it| (it.name.as_str(), it.base_url.as_str(), it.max_connections))
        .collect();
    assert_eq!(
        providers,
        [
            ("a", "http://overlay", 1),
            ("b", "https://api.groq.com/openai/v1", 1024),
            ("c", "https://api.openai.com/v1", 1024),
            ("echo", "", 1024),
        ]
    );

    // `--set` wins over the option of C, and the place of an error is the layer's own.
    let sources = |sets: &[(&str, &str)]| {
        load(&Sources {
            file: Some(file.clone()),
            listen: Some("127.0.0.1:5".to_owned()),
            sets: pairs(sets),
            ..Sources::default()
        })
    };
    let config = sources(&[("server.listen", "127.0.0.1:6,unix:/run/nh")]).unwrap();
    assert_eq!(config.server.listen.len(), 2);
    assert_eq!(
        error(sources(&[("limits.body", "-1")])),
        "limits.body: `body` is -1, expected an integer from 0 to 1099511627776"
    );
    let path = directory.write("y.toml", "\n  [server]\n  workers = 'x'\n");
    assert_eq!(
        error(load(&Sources { file: Some(path.clone()), ..Sources::default() })),
        format!(
            "{}:3:13: `workers` is a string, expected an integer from 0 to 1024",
            path.display()
        )
    );
}

/// Wrong: a missing, huge or binary file is something else than an error.
#[test]
fn files_are_bounded_and_named() {
    let directory = Directory::new("files");
    let from = |path: &std::path::Path| {
        error(load(&Sources { file: Some(path.to_owned()), ..Sources::default() }))
    };
    assert_eq!(
        from(&directory.0.join("none.toml")),
        format!(
            "{}: cannot be read (No such file or directory (os error 2)), expected a \
             configuration file",
            directory.path("none.toml")
        )
    );
    let path = directory.write("long.toml", vec![b'#'; (4 << 20) + 1]);
    assert_eq!(
        from(&path),
        format!(
            "{}: too large for a configuration, expected at most 4194304 bytes",
            path.display()
        )
    );
    let path = directory.write("fits.toml", vec![b'#'; 4 << 20]);
    assert_eq!(from(&path), "no error");
    let path = directory.write("binary.toml", b"[log]\n# \xc3\xa4 \xff\n");
    assert_eq!(
        from(&path),
        format!("{}:2:5: a byte that is not text, expected UTF-8", path.display())
    );
    assert!(from(&directory.0).contains("expected a configuration file"));

    let base = directory.write("base.toml", "");
    let named = |environment: &str| {
        load(&Sources {
            file: Some(base.clone()),
            environment: pairs(&[("NEUROHTTP_ENV", environment)]),
            ..Sources::default()
        })
    };
    assert_eq!(
        named("dev").unwrap().notes,
        [format!("NEUROHTTP_ENV is set, but there is no {}", directory.path("base.dev.toml"))]
    );
    assert_eq!(
        error(named("../x")),
        "NEUROHTTP_ENV: is not part of a file's name, expected letters, digits, `_`, `-` and `.`"
    );
    // The variable names the file when none is given, and only when one is looked for.
    let sources = |search| Sources {
        search,
        environment: pairs(&[("NEUROHTTP_CONFIG", &directory.path("none.toml"))]),
        ..Sources::default()
    };
    assert!(error(load(&sources(true))).starts_with(&directory.path("none.toml")));
    assert_eq!(error(load(&sources(false))), "no error");
}
