//! Reading a configuration anew.

use super::*;
use crate::config::{Changes, Config, Origin};

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("neurohttp-anew-{}-{name}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Wrong: a change of one table reaches another whose name begins like it, or outlives its removal.
#[test]
fn changes_belong_to_their_tables() {
    let mut changes = Changes::default();
    changes.set("model.a.aliases", "x");
    changes.set("model.a.b.aliases", "y");
    changes.set("model.a.aliases", "z");
    assert_eq!(changes.sets.len(), 2);
    changes.remove("model.a");
    assert_eq!(changes.sets, [("model.a.b.aliases".to_owned(), "y".to_owned())]);
    assert!(changes.removed.contains("model.a"));
    changes.forget("model.a");
    assert!(changes.removed.is_empty());
    assert!(changes.unset("model.a.b.aliases") && !changes.unset("model.a.b.aliases"));
}

/// Wrong: a table that was taken out leaves its keys to another, or one that was put in its place is
/// mixed with it.
#[test]
fn tables_are_taken_out_and_replaced() {
    let folder = folder("tables");
    let file = folder.join("a.toml");
    let model = |name: &str, alias: &str| {
        let targets = "targets = [{ provider = \"echo\" }]";
        format!("[[model]]\nname = \"{name}\"\naliases = [\"{alias}\"]\n{targets}\n")
    };
    let keys = "[[key]]\nname = \"k\"\nkey = \"one\"\n[[key]]\nname = \"l\"\nkey = \"two\"\n";
    std::fs::write(&file, format!("{}{}{keys}", model("m", "mm"), model("n", "nn"))).unwrap();
    let sources = Sources { file: Some(file.clone()), ..Sources::default() };
    let (first, source) = Origin::sources(&sources).load().unwrap();
    let mut changes = Changes::default();
    changes.remove("model.m");
    changes.remove("key.k");
    changes.set("model.n.default", "true");
    changes.set("key.l.requests_per_minute", "5");
    let fresh = source.read(&changes).unwrap().config;
    let names: Vec<&str> = fresh.model.iter().map(|model| model.name.as_str()).collect();
    assert_eq!((names, fresh.model[0].default), (vec!["n"], true));
    assert_eq!((fresh.key.len(), fresh.key[0].requests_per_minute), (1, 5));
    assert_eq!(fresh.key[0].key, Secret::new("two"));
    assert_eq!(first.differences(&fresh), ["key.k", "key.l", "model.m", "model.n"]);
    changes.set("model.m.targets", "[{ provider = \"echo\" }]");
    let fresh = source.read(&changes).unwrap().config;
    let back = fresh.model.iter().find(|model| model.name == "m").unwrap();
    assert_eq!(back.aliases, Vec::<String>::new());
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Wrong: a secret that changes is taken for the same, or is told.
#[test]
fn differences_see_secrets_and_tell_none() {
    let with = |text: &str| {
        let sources = Sources { text: Some(text), ..Sources::default() };
        load(&sources).unwrap()
    };
    let keys = |key: &str| {
        format!(
            "[auth]\nkeys = [\"{key}\"]\n[admin]\nkey = \"{key}\"\n[[provider]]\nname = \"p\"\n\
             kind = \"openai\"\napi_key = \"{key}\"\n[plugin.x]\ntoken = \"{key}\"\n\
             [server]\nworkers = 3\n"
        )
    };
    let (one, other) = (with(&keys("one")), with(&keys("two")));
    let told = one.differences(&other);
    assert_eq!(told, ["auth.keys", "admin.key", "provider.p", "plugin.x"]);
    assert_eq!(one.differences(&one), Vec::<String>::new());
    let told = one.differences(&Config::default());
    assert_eq!(Config::needing_restart(&told), ["server.workers"]);
}

/// Wrong: a file that is away, or that a search would find elsewhere, becomes no configuration.
#[test]
fn a_file_stays_the_one_that_was_found() {
    let folder = folder("found");
    let file = folder.join("a.toml");
    std::fs::write(&file, "[limits]\nbody = 5\n").unwrap();
    let environment = vec![("NEUROHTTP_CONFIG".to_owned(), file.display().to_string())];
    let sources = Sources { search: true, environment, ..Sources::default() };
    let (config, mut source) = Origin::sources(&sources).load().unwrap();
    assert_eq!(config.limits.body, 5);
    std::fs::write(&file, "[limits]\nbody = 6\n").unwrap();
    let fresh = source.read(&Changes::default()).unwrap();
    assert_eq!(fresh.config.limits.body, 6);
    source.accept(&fresh);
    for text in ["", "\n \n", "[limits]\nbody = 7"] {
        std::fs::write(&file, text).unwrap();
        let told = source.read(&Changes::default()).map(|_| ()).unwrap_err().to_string();
        assert!(told.contains("half-written"), "{text:?}: {told}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(source.read(&Changes::default()).is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}
