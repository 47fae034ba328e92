//! The printed form and the sample.

use super::*;

/// Wrong: `neurohttp check` shows a secret, or something else than what will run.
#[test]
fn the_printed_form_loads_again_and_shows_no_secret() {
    const TEXT: &str = "[server]\nlisten = [\"[::1]:80\", \"unix:/run/a \\\"b\\\"\"]\n\
        [auth]\nkeys = [\"SECRET-1\", \"env:KEY_2\"]\n\
        [[key]]\nname = \"team \\\"a\\\"\"\nkey = \"SECRET-3\"\nmodels = [\"m\"]\n\
        [admin]\nkey = \"SECRET-4\"\n\
        [[provider]]\nname = \"openai\"\napi_key = \"SECRET-5\"\n\
        proxy = \"http://user:SECRET-6@proxy:1\"\nca_file = \"C:\\\\x\\u0001\"\n\
        [[provider]]\nname = \"groq\"\napi_key = \"env:KEY_2\"\n\
        [[model]]\nname = \"m\"\naliases = [\"n\"]\nstrategy = \"hash\"\nhash_on = \"header:X-User\"\n\
        default = true\ntargets = [{ provider = \"openai\" }, { provider = \"groq\", model = \"g\", \
        weight = 3 }]\n\
        [cache]\nwhen = \"always\"\n[firewall]\nallow = [\"10.0.0.1/8\"]\n[log]\nlevel = \"trace\"\n\
        [plugin.\"odd name\"]\napi_key = \"SECRET-7\"\nlist = [1, 2.5, true, 1979-05-27]\n\
        tokens = [\"SECRET-8\"]\ninner = { \"a b\" = \"x\\n\", password = \"SECRET-9\" }\n";
    let environment = [("KEY_2", "SECRET-2")];
    let config = with_environment(TEXT, &environment).unwrap();
    let printed = config.to_toml_masked();
    assert!(!printed.contains("SECRET-"), "{printed}");
    assert!(!format!("{config:?} {:?} {:?}", config.provider, config.auth).contains("SECRET-"));
    assert!(printed.contains("keys = [\"***\", \"env:KEY_2\"]\n"), "{printed}");
    assert!(printed.contains("proxy = \"http://***@proxy:1\"\n"), "{printed}");
    assert!(
        printed.contains(
            "[plugin.\"odd name\"]\napi_key = \"***\"\nlist = [1, 2.5, true, 1979-05-27]\n\
             tokens = [\"***\"]\ninner = { \"a b\" = \"x\\n\", password = \"***\" }\n"
        ),
        "{printed}"
    );
    assert!(config.plugin["odd name"].contains("SECRET-9"));

    // The masks are all alike, which keys must not be.
    let again = printed.replacen("key = \"***\"", "key = \"other\"", 1);
    let again = with_environment(&again, &environment).unwrap();
    assert_eq!(again.to_toml_masked(), printed);
    assert_eq!(again.model, config.model);
    assert_eq!(again.server, config.server);
    assert_eq!(again.firewall, config.firewall);
    assert!(again.notes.iter().any(|note| note.contains("`auth.keys` is the mask")));

    let defaults = from_text("").unwrap();
    let again = from_text(&defaults.to_toml_masked()).unwrap();
    assert_eq!(again.to_toml_masked(), defaults.to_toml_masked());
    assert_eq!(again.provider, defaults.provider);
}

/// The sample with what is commented out as an example brought in: a `#` directly before a key or
/// a table, where prose has a blank after it.
fn sample_with_examples() -> String {
    let sample = include_str!("../../../config/neurohttp.toml");
    let lines = sample.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|next: char| next != ' ' && next != '#') => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Wrong: the sample does not load, or says another default than the program has.
#[test]
fn the_sample_is_the_default() {
    let sample = from_text(include_str!("../../../config/neurohttp.toml")).unwrap();
    let defaults = from_text("").unwrap();
    assert_eq!(sample.to_toml_masked(), defaults.to_toml_masked());
    assert_eq!(sample.notes, [""; 0]);
}

/// Wrong: an example in the sample is none, or a key is documented nowhere.
#[test]
fn the_sample_names_every_key() {
    let text = sample_with_examples();
    let document = node::parse_document("sample", &text).unwrap();
    let mut draft = draft::Draft::default();
    draft.apply_document(&document).unwrap();
    providers::complete(&mut draft).unwrap();
    let environment: BTreeMap<String, String> =
        [("OPENAI_API_KEY", "a"), ("TEAM_A_KEY", "b")].map(|(n, v)| (n.into(), v.into())).into();
    let scope = schema::Scope { environment: &environment, marks: &draft.marks };
    validate::check(&mut draft.config, &scope).unwrap();

    let words: Vec<&str> = text.split([' ', '\n', '.', ',']).collect();
    for kind in kinds::KINDS {
        assert!(words.contains(&kind.name), "kind {} is not in the sample", kind.name);
    }
    for (part, form) in PARTS {
        let entry = document.iter().find(|entry| entry.key == *part);
        let entry = entry.unwrap_or_else(|| panic!("[{part}] is not in the sample"));
        let table = match (&entry.node.value, form) {
            (node::Value::Table(entries), Form::Single) => entries,
            (node::Value::List(items), Form::Named | Form::Listed) => match &items[0].value {
                node::Value::Table(entries) => entries,
                other => panic!("{part} is {}", other.kind()),
            },
            (_, Form::Free) => continue,
            (other, _) => panic!("{part} is {}", other.kind()),
        };
        let mut config = Config::default();
        let keys = match parts::part(&mut config, part) {
            Some(parts::Part::Section(section)) => section.keys(),
            Some(parts::Part::Tables(tables)) => tables.keys(),
            _ => &[],
        };
        for spec in keys {
            let found = table.iter().any(|entry| entry.key == spec.name);
            assert!(found, "{part}.{} is not in the sample", spec.name);
        }
    }
}

/// Wrong: some file takes the process down, gives an error of many lines, or is accepted and then
/// printed as something that is not. The sample is mangled in every way a slip or an enemy might.
#[test]
fn mangled_samples_fail_cleanly_or_load_again() {
    let sample = sample_with_examples().replace("env:", "");
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound.max(1) as u64) as usize
    };
    const PIECES: &[&str] = &[
        "\"",
        "'",
        "[",
        "]",
        "[[",
        "{",
        "}",
        "=",
        ",",
        ".",
        "\n",
        "#",
        "-1",
        "1e9",
        "true",
        "0x",
        "\0",
        "\u{feff}",
        "é",
        "99999999999999999999",
        "env:X",
        "*",
        "\\u0000",
        "1979-05-27T07:32:00Z",
    ];
    let (mut loaded, mut refused) = (0, 0);
    for _ in 0..1500 {
        let mut text: Vec<char> = sample.chars().collect();
        for _ in 0..=random(2) {
            let at = random(text.len());
            let end = (at + random(12)).min(text.len());
            let piece: Vec<char> = PIECES[random(PIECES.len())].chars().collect();
            text.splice(at..end, piece);
        }
        let text: String = text.into_iter().collect();
        match from_text(&text) {
            Err(error) => {
                refused += 1;
                let line = error.to_string();
                assert!(line.starts_with("config_text:") && !line.contains('\n'), "{line}");
            }
            Ok(config) => {
                loaded += 1;
                let printed = config.to_toml_masked();
                let again =
                    from_text(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
                assert_eq!(again.to_toml_masked(), printed);
            }
        }
    }
    assert!(loaded > 100 && refused > 100, "{loaded} {refused}");
}
