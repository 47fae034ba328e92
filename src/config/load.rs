//! The layers of a configuration and their order: defaults, file, its overlay, text from C,
//! environment, options and `--set`; later wins.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::assignment::{apply_environment, apply_set};
use super::draft::Draft;
use super::legacy::LegacyConf;
use super::node::{At, parse_document};
use super::schema::{Scope, Section};
use super::{Changes, Config, ConfigError, files, parts, print, providers, validate};

/// What errors call the text that a C program hands over.
const TEXT_NAME: &str = "config_text";

/// Where a configuration comes from. The default is none of it: the built-in defaults alone.
#[derive(Clone, Default)]
pub struct Sources<'a> {
    /// The file of `-c` or of C's `config_file`; it must be there. `.conf`: the old grammar.
    pub file: Option<PathBuf>,
    /// Without `file`: look at `$NEUROHTTP_CONFIG`, `./neurohttp.toml` and
    /// `/etc/neurohttp/neurohttp.toml`; finding none is fine.
    pub search: bool,
    /// C's `config_text`: TOML over the file.
    pub text: Option<&'a str>,
    /// The environment, as far as it is text; empty: there is none.
    pub environment: Vec<(String, String)>,
    /// Of the environment only what an explicit `env:NAME` names is read: no overrides, overlay or
    /// keys of providers.
    pub env_names_only: bool,
    /// Assignments of `--set` and `nh_server_set`, as `section.key` and value, in their order.
    pub sets: Vec<(String, String)>,
    /// C's `listen`; laid under `sets`.
    pub listen: Option<String>,
}

/// Reads, puts together and checks a configuration. The first thing wrong is the error.
pub fn load(sources: &Sources<'_>) -> Result<Config, ConfigError> {
    load_with(sources, &Changes::default())
}

/// The same with what was changed at run time laid over it.
pub(super) fn load_with(sources: &Sources<'_>, changes: &Changes) -> Result<Config, ConfigError> {
    let by_name = |variables: &[(String, String)]| variables.iter().cloned().collect();
    let variables = match sources.env_names_only {
        true => &[],
        false => sources.environment.as_slice(),
    };
    let layer: BTreeMap<_, _> = by_name(variables);
    let mut draft = Draft::default();
    apply_file(&mut draft, sources, &layer)?;
    if let Some(text) = sources.text {
        files::check_size(TEXT_NAME, text.len())?;
        draft.apply_document(&parse_document(TEXT_NAME, text)?)?;
    }
    apply_variables(&mut draft, variables, &layer)?;
    if let Some(listen) = &sources.listen {
        apply_set(&mut draft, "server.listen", listen)?;
    }
    for (path, value) in &sources.sets {
        apply_set(&mut draft, path, value)?;
    }
    changes.apply(&mut draft)?;
    finish(draft, &by_name(&sources.environment), &layer)
}

/// The configuration of a program started as `aionic` without options: `config/base.conf` if it
/// is there, else `config/aionic.conf`, which must be; over it `config/NAME.conf` for `aionic_env`
/// and `config/local.conf` if they are there. All beneath `dir`. The environment is left alone.
pub fn load_legacy_default(dir: &Path, aionic_env: Option<&str>) -> Result<Config, ConfigError> {
    let mut draft = Draft::default();
    apply_legacy_default(&mut draft, dir, aionic_env)?;
    finish(draft, &BTreeMap::new(), &BTreeMap::new())
}

/// The same under the environment: `AIONIC_ENV`, the keys of providers and `NEUROHTTP_…` variables
/// count.
pub fn load_legacy_start(
    dir: &Path,
    environment: &[(String, String)],
) -> Result<Config, ConfigError> {
    load_legacy_start_with(dir, environment, &Changes::default())
}

/// The same with what was changed at run time laid over it.
pub(super) fn load_legacy_start_with(
    dir: &Path,
    environment: &[(String, String)],
    changes: &Changes,
) -> Result<Config, ConfigError> {
    let by_name = environment.iter().cloned().collect::<BTreeMap<_, _>>();
    let mut draft = Draft::default();
    apply_legacy_default(&mut draft, dir, by_name.get("AIONIC_ENV").map(String::as_str))?;
    // The original loaded what lay there.
    let plugins = dir.join("plugins");
    if files::is_dir(&plugins) {
        draft.config.plugins.dir = plugins.display().to_string();
    }
    apply_variables(&mut draft, environment, &by_name)?;
    changes.apply(&mut draft)?;
    finish(draft, &by_name, &by_name)
}

/// The layer of the environment: providers for the keys in it, when none is configured, and the
/// variables that set keys, of these providers too.
fn apply_variables(
    draft: &mut Draft,
    environment: &[(String, String)],
    by_name: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    let are_configured = !draft.config.provider.is_empty();
    if !are_configured {
        providers::add_from_environment(draft, by_name)?;
    }
    apply_environment(draft, environment)?;
    draft.config.providers_from_env = !are_configured && !draft.config.provider.is_empty();
    Ok(())
}

fn apply_file(
    draft: &mut Draft,
    sources: &Sources<'_>,
    environment: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let named = match &sources.file {
        Some(path) => Some(path.clone()),
        None if sources.search => set("NEUROHTTP_CONFIG").map(PathBuf::from),
        None => return Ok(()),
    };
    let (path, bytes) = match named {
        Some(path) => {
            let bytes = files::read(&path)?;
            (path, bytes)
        }
        None => match find(files::SEARCHED)? {
            Some(found) => found,
            None => return Ok(()),
        },
    };
    if files::is_legacy(&path) {
        let mut conf = LegacyConf::default();
        return apply_conf(draft, &mut conf, path, &bytes);
    }
    let overlay = match set("NEUROHTTP_ENV") {
        Some(name) => overlay_of(&path, name)?,
        None => None,
    };
    apply_toml(draft, path, bytes)?;
    if let Some(overlay) = overlay {
        match files::read_if_there(&overlay)? {
            Some(bytes) => apply_toml(draft, overlay, bytes)?,
            None => draft
                .config
                .notes
                .push(format!("NEUROHTTP_ENV is set, but there is no {}", overlay.display())),
        }
    }
    Ok(())
}

/// The first of the files that is there.
fn find(searched: &[&str]) -> Result<Option<(PathBuf, Vec<u8>)>, ConfigError> {
    for path in searched.iter().map(PathBuf::from) {
        if let Some(bytes) = files::read_if_there(&path)? {
            return Ok(Some((path, bytes)));
        }
    }
    Ok(None)
}

/// The overlay that these sources would read if it were there.
pub(super) fn overlay_wanted(sources: &Sources<'_>) -> Option<PathBuf> {
    if sources.env_names_only {
        return None;
    }
    let is_it = |(name, value): &&(String, String)| name == "NEUROHTTP_ENV" && !value.is_empty();
    let (_, name) = sources.environment.iter().find(is_it)?;
    let path = sources.file.as_ref().filter(|path| !files::is_legacy(path))?;
    overlay_of(path, name).ok().flatten()
}

fn overlay_of(path: &Path, name: &str) -> Result<Option<PathBuf>, ConfigError> {
    check_file_part("NEUROHTTP_ENV", name)?;
    Ok(files::overlay_of(path, name))
}

/// A variable that becomes part of a file's name must not lead elsewhere.
fn check_file_part(variable: &str, name: &str) -> Result<(), ConfigError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.bytes().all(fits) {
        return Ok(());
    }
    Err(At::named(variable)
        .error("is not part of a file's name, expected letters, digits, `_`, `-` and `.`"))
}

fn apply_toml(draft: &mut Draft, path: PathBuf, bytes: Vec<u8>) -> Result<(), ConfigError> {
    let text = files::utf8(&path, bytes)?;
    let document = parse_document(&path.display().to_string(), &text)?;
    draft.apply_document(&document)?;
    draft.config.files.push(path);
    Ok(())
}

fn apply_conf(
    draft: &mut Draft,
    conf: &mut LegacyConf,
    path: PathBuf,
    bytes: &[u8],
) -> Result<(), ConfigError> {
    // Old files never said which encoding they are in; only comments and paths could tell.
    conf.apply(&String::from_utf8_lossy(bytes));
    conf.lay_over(draft, &path.display().to_string())?;
    draft.config.files.push(path);
    Ok(())
}

fn apply_legacy_default(
    draft: &mut Draft,
    dir: &Path,
    aionic_env: Option<&str>,
) -> Result<(), ConfigError> {
    let dir = dir.join("config");
    let mut conf = LegacyConf::default();
    let base = dir.join("base.conf");
    match files::read_if_there(&base)? {
        Some(bytes) => apply_conf(draft, &mut conf, base, &bytes)?,
        None => {
            let path = dir.join("aionic.conf");
            let bytes = files::read(&path)?;
            apply_conf(draft, &mut conf, path, &bytes)?;
        }
    }
    let mut further = Vec::new();
    if let Some(name) = aionic_env.filter(|name| !name.is_empty()) {
        check_file_part("AIONIC_ENV", name)?;
        further.push(dir.join(format!("{name}.conf")));
    }
    further.push(dir.join("local.conf"));
    for path in further {
        if let Some(bytes) = files::read_if_there(&path)? {
            apply_conf(draft, &mut conf, path, &bytes)?;
        }
    }
    Ok(())
}

/// Completes and checks what the layers have left.
/// `environment` is what an `env:NAME` may name, `layer` what of it counts without being named.
fn finish(
    mut draft: Draft,
    environment: &BTreeMap<String, String>,
    layer: &BTreeMap<String, String>,
) -> Result<Config, ConfigError> {
    providers::complete(&mut draft)?;
    super::proxy::apply(&mut draft.config, layer);
    let Draft { mut config, plugins, marks, .. } = draft;
    let scope = Scope { environment, marks: &marks };
    resolve(&mut config, &scope)?;
    validate::check(&mut config, &scope)?;
    for path in &config.firewall.rules {
        files::check_plain(Path::new(path))?;
        let file = Path::new(path);
        let text = files::utf8(file, files::read(file)?)?;
        config.firewall_rules.push((path.clone(), text));
    }
    config.plugin =
        plugins.iter().map(|(name, entries)| (name.clone(), print::plugin_text(entries))).collect();
    config.listen_at = marks.get("server.listen").map(ToString::to_string).unwrap_or_default();
    dedup(&mut config.notes);
    Ok(config)
}

/// Looks up every `env:NAME`.
fn resolve(config: &mut Config, scope: &Scope<'_>) -> Result<(), ConfigError> {
    for (name, _) in parts::PARTS {
        match parts::part(config, name) {
            Some(parts::Part::Section(section)) => section.resolve(name, scope)?,
            Some(parts::Part::Tables(tables)) => {
                for index in 0..tables.len() {
                    let path = match tables.name(index) {
                        "" => format!("{name}[{index}]"),
                        table => format!("{name}.{table}"),
                    };
                    if let Some(section) = tables.get(index) {
                        Section::resolve(section, &path, scope)?;
                    }
                }
            }
            Some(parts::Part::Plugins) | None => {}
        }
    }
    Ok(())
}

/// Layered old files note the same twice.
fn dedup(notes: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    notes.retain(|note| seen.insert(note.clone()));
}
