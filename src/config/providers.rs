//! What providers are there without being configured, and what a configured one may leave out.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::draft::Draft;
use super::kinds::{self, KINDS, available};
use super::node::At;
use super::schema::Scope;
use super::secret::Secret;
use super::settings::Provider;
use super::values::shown;
use super::{ConfigError, check};

/// The name and kind of the provider that is always there.
const ECHO: &str = "echo";

/// Adds a provider for each key that the environment holds. Called when none is configured.
pub(crate) fn add_from_environment(
    draft: &mut Draft,
    environment: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    for kind in KINDS {
        let found = kind.key_variables.iter().find_map(|name| Some((*name, set(name)?)));
        let Some((variable, key)) = found else {
            continue;
        };
        if !available(kind.dialect) {
            draft.config.notes.push(format!(
                "{variable} is passed over: providers of kind {} are not available in this build",
                kind.name
            ));
            continue;
        }
        let base_url = match set(kind.base_url_variable) {
            Some(url) => {
                check::base_url(url).map_err(|expected| {
                    At::named(kind.base_url_variable)
                        .error(format!("is not usable, expected {expected}"))
                })?;
                url.clone()
            }
            None => String::new(),
        };
        let provider = Provider {
            name: kind.name.to_owned(),
            kind: kind.name.to_owned(),
            base_url,
            api_key: Some(Secret::from_variable(variable, key)),
            ..Provider::default()
        };
        draft.add_provider(provider, At::named(variable));
    }
    Ok(())
}

/// Fills in what providers left out, and adds `echo`.
pub(crate) fn complete(draft: &mut Draft) -> Result<(), ConfigError> {
    let empty = BTreeMap::new();
    let scope = Scope { environment: &empty, marks: &draft.marks };
    let mut notes = Vec::new();
    for provider in &mut draft.config.provider {
        let path = format!("provider.{}", provider.name);
        if provider.kind.is_empty() && kinds::find(&provider.name).is_some() {
            provider.kind.clone_from(&provider.name);
        }
        let Some(kind) = kinds::find(&provider.kind) else {
            return Err(scope.at(&path).error(format!(
                "provider \"{}\" has no `kind`, expected {}",
                shown(&provider.name),
                kinds::expected()
            )));
        };
        if !available(kind.dialect) {
            let usable: Vec<&str> =
                KINDS.iter().filter(|kind| available(kind.dialect)).map(|kind| kind.name).collect();
            return Err(scope.at(&format!("{path}.kind")).error(format!(
                "kind \"{}\" is not available in this build, expected one of {}",
                kind.name,
                usable.join(", ")
            )));
        }
        if provider.base_url.is_empty() {
            provider.base_url = kind.base_url.to_owned();
        }
        if provider.base_url.is_empty() && !kinds::is_inside(kind.dialect) {
            return Err(scope.at(&path).error(format!(
                "provider \"{}\" has no `base_url`, expected the address of your resource, such \
                 as https://NAME.openai.azure.com/openai/v1",
                shown(&provider.name)
            )));
        }
        provider.base_url.truncate(provider.base_url.trim_end_matches('/').len());
        if kind.needs_key && provider.api_key.is_none() && provider.base_url == kind.base_url {
            notes.push(format!(
                "provider \"{}\" has no `api_key`, and {} answers nothing without one",
                shown(&provider.name),
                kind.base_url
            ));
        }
    }
    draft.config.notes.append(&mut notes);
    if !draft.config.provider.iter().any(|provider| provider.name == ECHO) {
        draft.config.provider.push(echo());
    }
    Ok(())
}

/// The provider that answers inside the process.
pub(crate) fn echo() -> Provider {
    Provider { name: ECHO.to_owned(), kind: ECHO.to_owned(), ..Provider::default() }
}
