//! Old `.conf` files as configurations.

use super::*;

/// Wrong: an old installation behaves otherwise after the update.
#[test]
fn old_files_become_settings() {
    let directory = Directory::new("legacy");
    let path = directory.write(
        "old.conf",
        "port = 9090\nthread_count = 2\nmax_connections = 55\nrequest_timeout = 5000\n\
         log_file = logs/a.log\ncache_size = 7\ncache_ttl = 8\nenable_firewall = 0\n\
         enable_optimization = 0\napi_key = k1\napi_key =\napi_key = k2\n",
    );
    let sources = |file: &PathBuf, environment: &[(&str, &str)]| {
        load(&Sources {
            file: Some(file.clone()),
            environment: pairs(environment),
            ..Sources::default()
        })
    };
    let config = sources(&path, &[]).unwrap();
    assert!(config.legacy && config.auth.open);
    assert_eq!(config.server.listen, [Listen::parse("0.0.0.0:9090").unwrap()]);
    assert_eq!((config.server.workers, config.server.max_connections), (2, 55));
    assert_eq!((config.timeouts.header, config.timeouts.body), (5000, 5000));
    assert_eq!((config.cache.max_entries, config.cache.ttl), (7, 8));
    assert!(config.cache.enable && !config.firewall.enable && !config.optimizer.enable);
    assert_eq!(config.log.file, "logs/a.log");
    assert_eq!(config.auth.keys, [Secret::new("k1"), Secret::new("k2")]);
    assert_eq!(config.files, std::slice::from_ref(&path));

    // An old server counts as open, so a credential does not keep it from starting.
    let config = sources(&directory.write("empty.conf", ""), &[("OPENAI_API_KEY", "k")]).unwrap();
    assert_eq!(config.provider[0].name, "openai");
    assert_eq!(config.exposure_check(), Ok(()));
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.notes, [""; 0]);
    let guarded = sources(
        &directory.0.join("empty.conf"),
        &[("OPENAI_API_KEY", "k"), ("NEUROHTTP_AUTH__OPEN", "false")],
    );
    let refused = guarded.unwrap().exposure_check().map(|()| Config::default());
    assert!(error(refused).starts_with(&directory.path("empty.conf")));

    let path = directory.write("port.conf", "# x\nport =  70000\n");
    assert_eq!(
        error(sources(&path, &[])),
        format!("{}:2:9: `port` is 70000, expected 0 to 65535", path.display())
    );
    let path = directory.write("odd.conf", b"thread_count = -4\ncache_size = 0\n# \xff\n");
    let config = sources(&path, &[]).unwrap();
    assert_eq!(config.server.workers, 0);
    assert!(!config.cache.enable);
    assert_eq!(config.notes, ["old `thread_count` is -4: 0 is used"]);
}

/// Wrong: the program under its old name reads other files, or the last one alone.
#[test]
fn old_files_are_layered() {
    let directory = Directory::new("legacy-start");
    assert!(
        error(load_legacy_default(&directory.0, None))
            .starts_with(&directory.path("config/aionic.conf"))
    );
    directory.write("config/aionic.conf", "port = 1\nthread_count = 1\napi_key = a\n");
    directory.write("config/prod.conf", "port = 2\napi_key = b\n");
    let read = |name: Option<&str>| {
        let config = load_legacy_default(&directory.0, name).unwrap();
        (config.server.listen[0].to_string(), config.server.workers, config.auth.keys.len())
    };
    assert_eq!(read(None), ("0.0.0.0:1".to_owned(), 1, 1));
    assert_eq!(read(Some("prod")), ("0.0.0.0:2".to_owned(), 1, 2));
    assert_eq!(read(Some("none")), ("0.0.0.0:1".to_owned(), 1, 1));
    directory.write("config/local.conf", "thread_count = 3\n");
    assert_eq!(read(Some("prod")), ("0.0.0.0:2".to_owned(), 3, 2));
    directory.write("config/base.conf", "port = 9\n");
    assert_eq!(read(None), ("0.0.0.0:9".to_owned(), 3, 0));
    assert_eq!(
        error(load_legacy_default(&directory.0, Some("../x"))),
        "AIONIC_ENV: is not part of a file's name, expected letters, digits, `_`, `-` and `.`"
    );
    let environment =
        pairs(&[("AIONIC_ENV", "prod"), ("GROQ_API_KEY", "k"), ("NEUROHTTP_SERVER__WORKERS", "5")]);
    let config = load_legacy_start(&directory.0, &environment).unwrap();
    assert_eq!(config.server.workers, 5);
    assert_eq!(config.auth.keys.len(), 1);
    assert_eq!(config.provider[0].name, "groq");
}
