//! ai/prompt_router.h: prompts to models that speak OpenAI's chat completions.
//!
//! The call blocks its thread and comes from any; no lock is held during it, so prompts run side by
//! side. Bodies are written and read by the same codec as the relay's.

use crate::ai::chat::{Message, Number, Reply, Request, Role, join_text};
use crate::ai::provider::{EncodedRequest, TargetInfo, Wire, codec};
use crate::boundary::guard;
use crate::legacy::instance::INSTANCE;
use crate::legacy::memory::{copy_cut, give_list, text, utf8};
use crate::legacy::utils::logging::{Level, write};
use std::ffi::{c_char, c_float, c_int};
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Where the built-in models are.
const ENDPOINT: &str = "https://api.groq.com/openai/v1/chat/completions";
/// The built-in models; the first is the default.
const BUILT_IN: [&str; 3] = ["llama-3.3-70b-versatile", "llama-3.1-8b-instant", "gemma2-9b-it"];
/// Models at a time.
const MODELS_MAX: usize = 4096;
/// Finding and reaching the endpoint.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A whole call.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(600);
/// Answers larger than this are refused.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// One model.
#[derive(Clone, Debug)]
struct Model {
    name: String,
    endpoint: String,
    max_tokens: c_int,
    temperature: c_float,
    available: bool,
}

/// The models, between init and cleanup.
pub struct Models {
    models: Option<Vec<Model>>,
    default: Option<String>,
    agent: Option<ureq::Agent>,
}

impl Models {
    /// Before init.
    pub const fn new() -> Models {
        Models { models: None, default: None, agent: None }
    }

    fn start(&mut self) {
        if self.models.is_none() {
            self.models = Some(Vec::new());
            for name in BUILT_IN {
                self.add(name, ENDPOINT, 8192, 0.7);
            }
            self.default = Some(BUILT_IN[0].to_owned());
        }
    }

    fn add(&mut self, name: &str, endpoint: &str, max_tokens: c_int, temperature: c_float) -> bool {
        let Some(models) = &mut self.models else { return false };
        let model = Model {
            name: name.to_owned(),
            endpoint: endpoint.to_owned(),
            max_tokens,
            temperature,
            available: true,
        };
        match models.iter().position(|known| known.name == name) {
            Some(known) => models[known] = model,
            None if models.len() < MODELS_MAX => models.push(model),
            None => return false,
        }
        self.default.get_or_insert_with(|| name.to_owned());
        true
    }

    /// Removes a model. A default that goes is followed by the first that is left.
    fn remove(&mut self, name: &str) -> bool {
        let Some(models) = &mut self.models else { return false };
        let before = models.len();
        models.retain(|model| model.name != name);
        if self.default.as_deref() == Some(name) {
            self.default = models.first().map(|model| model.name.clone());
        }
        models.len() < before
    }

    fn find(&mut self, name: &str) -> Option<&mut Model> {
        self.models.as_mut()?.iter_mut().find(|model| model.name == name)
    }

    fn agent(&mut self) -> ureq::Agent {
        self.agent.get_or_insert_with(new_agent).clone()
    }
}

impl Default for Models {
    fn default() -> Self {
        Models::new()
    }
}

fn new_agent() -> ureq::Agent {
    let found = rustls_native_certs::load_native_certs();
    let roots: Vec<Certificate<'static>> = found
        .certs
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(TOTAL_TIMEOUT))
        .tls_config(TlsConfig::builder().root_certs(RootCerts::from(roots)).build())
        .build()
        .new_agent()
}

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::legacy) struct RouteError {
    /// A short reason for the caller; holds neither prompt nor key.
    pub(in crate::legacy) reason: String,
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, RouteError> {
    Err(RouteError { reason: reason.into() })
}

/// What the default model is called now.
pub(in crate::legacy) fn default_name() -> Option<String> {
    INSTANCE.models.lock().default.clone()
}

/// Asks a model, by name or the default, and waits for its answer.
pub(in crate::legacy) fn ask(prompt: &str, name: Option<&str>) -> Result<Reply, RouteError> {
    let (model, agent) = {
        let mut models = INSTANCE.models.lock();
        let name = match name.map(str::to_owned).or_else(|| models.default.clone()) {
            Some(name) => name,
            None => return refuse("there is no default model"),
        };
        let Some(model) = models.find(&name).cloned() else { return refuse("unknown model") };
        if !model.available {
            return refuse("the model is not available");
        }
        (model, models.agent())
    };
    let key = std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty());
    if key.is_none() {
        write(Level::Warning, b"OPENAI_API_KEY is not set: asking without a key");
    }
    call(&agent, &model, &encode(&model, prompt, key.as_deref())?)
}

/// The request to a model. "groq" stands for any endpoint that speaks the dialect and no more.
fn encode(model: &Model, prompt: &str, key: Option<&str>) -> Result<EncodedRequest, RouteError> {
    let temperature = Some(model.temperature).filter(|value| value.is_finite());
    let request = Request {
        model: Some(model.name.clone()),
        messages: vec![Message::text(Role::User, prompt)],
        max_tokens: u64::try_from(model.max_tokens).ok().filter(|&tokens| tokens > 0),
        temperature: temperature.map(|value| Number::from_text(&value.to_string())),
        ..Request::default()
    };
    let target = TargetInfo { kind: "groq", base_path: "", model: &model.name, api_key: key };
    let mut encoded = EncodedRequest::default();
    let Some(codec) = codec(Wire::OpenAi) else { return refuse("no codec") };
    match codec.encode_request(&request, &target, &mut encoded) {
        Ok(()) => Ok(encoded),
        Err(failure) => refuse(failure.message),
    }
}

fn call(agent: &ureq::Agent, model: &Model, request: &EncodedRequest) -> Result<Reply, RouteError> {
    let mut call = agent.post(&model.endpoint);
    for (name, value) in &request.headers {
        call = call.header(name, value);
    }
    let mut response = match call.send(&request.body[..]) {
        Ok(response) => response,
        Err(error) => return refuse(format!("the endpoint cannot be reached: {error}")),
    };
    let status = response.status().as_u16();
    let body = match response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec() {
        Ok(body) => body,
        Err(error) => return refuse(format!("the answer broke off: {error}")),
    };
    if !(200..300).contains(&status) {
        return refuse(format!("the endpoint answered {status}"));
    }
    let Some(codec) = codec(Wire::OpenAi) else { return refuse("no codec") };
    codec.decode_reply(status, &body).or_else(|failure| refuse(failure.message))
}

/// # Safety
/// See ai/prompt_router.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prompt_router_init() -> c_int {
    guard(-1, || {
        INSTANCE.models.lock().start();
        0
    })
}

/// # Safety
/// Both texts are NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prompt_router_add_model(
    name: *const c_char,
    api_endpoint: *const c_char,
    max_tokens: c_int,
    temperature: c_float,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let (Some(name), Some(endpoint)) = (unsafe { (utf8(name), utf8(api_endpoint)) }) else {
            return -1;
        };
        if !is_web_url(endpoint) {
            return -1;
        }
        let added = INSTANCE.models.lock().add(name, endpoint, max_tokens, temperature);
        if added { 0 } else { -1 }
    })
}

/// Whether an endpoint is an http or https URL with a host.
fn is_web_url(endpoint: &str) -> bool {
    endpoint.parse::<ureq::http::Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.host().is_some_and(|host| !host.is_empty())
    })
}

/// Runs `body` on the models with a name; −1 when it says `false`.
///
/// # Safety
/// `name` is NULL or NUL-terminated.
unsafe fn with(name: *const c_char, body: impl FnOnce(&mut Models, &str) -> bool) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        match unsafe { utf8(name) } {
            Some(name) if body(&mut INSTANCE.models.lock(), name) => 0,
            _ => -1,
        }
    })
}

/// # Safety
/// `name` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prompt_router_remove_model(name: *const c_char) -> c_int {
    // SAFETY: as promised by the caller.
    unsafe { with(name, |models, name| models.remove(name)) }
}

/// # Safety
/// `name` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prompt_router_set_default_model(name: *const c_char) -> c_int {
    let set = |models: &mut Models, name: &str| {
        let known = models.find(name).is_some();
        if known {
            models.default = Some(name.to_owned());
        }
        known
    };
    // SAFETY: as promised by the caller.
    unsafe { with(name, set) }
}

/// # Safety
/// `name` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prompt_router_set_model_availability(
    name: *const c_char,
    available: c_int,
) -> c_int {
    let set = |models: &mut Models, name: &str| match models.find(name) {
        Some(model) => {
            model.available = available != 0;
            true
        }
        None => false,
    };
    // SAFETY: as promised by the caller.
    unsafe { with(name, set) }
}

/// # Safety
/// The texts are NULL or NUL-terminated; `response` is NULL or writable for `response_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prompt_router_route(
    prompt: *const c_char,
    model_name: *const c_char,
    response: *mut c_char,
    response_size: usize,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let (prompt, name) = unsafe { (text(prompt), text(model_name)) };
        let Some(prompt) = prompt else { return -1 };
        if response.is_null() || response_size == 0 {
            return -1;
        }
        let name = name.map(String::from_utf8_lossy);
        let (code, answer) = match ask(&String::from_utf8_lossy(prompt), name.as_deref()) {
            Ok(reply) => (0, join_text(&reply.parts)),
            Err(error) => (-1, error.reason),
        };
        // SAFETY: writable for response_size bytes, which is not 0.
        unsafe { copy_cut(answer.as_bytes(), response, response_size) };
        code
    })
}

/// # Safety
/// The outputs are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prompt_router_get_models(
    models: *mut *mut *mut c_char,
    count: *mut c_int,
) -> c_int {
    guard(-1, || {
        let names: Option<Vec<String>> = INSTANCE
            .models
            .lock()
            .models
            .as_ref()
            .map(|models| models.iter().map(|model| model.name.clone()).collect());
        // SAFETY: as promised by the caller.
        names.map_or(-1, |names| unsafe { give_list(&names, models, count) })
    })
}

/// # Safety
/// See ai/prompt_router.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prompt_router_cleanup() {
    guard((), || *INSTANCE.models.lock() = Models::new());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_and_a_removed_default_is_followed() {
        let mut models = Models::new();
        assert!(!models.add("early", "http://x", 1, 0.0));
        models.start();
        models.start();
        assert!(models.add("mine", "http://a", 5, 0.5));
        assert!(models.add("mine", "http://b", 6, 0.5));
        assert_eq!(models.models.as_ref().map(Vec::len), Some(4));
        assert_eq!(
            models.find("mine").map(|model| model.endpoint.clone()).as_deref(),
            Some("http://b")
        );
        assert!(models.remove(BUILT_IN[0]));
        assert_eq!(models.default.as_deref(), Some(BUILT_IN[1]));
        assert!(!models.remove("unknown"));
        for name in ["mine", BUILT_IN[1], BUILT_IN[2]] {
            assert!(models.remove(name));
        }
        assert_eq!(models.default, None);
    }

    #[test]
    fn endpoints_are_http_or_https_urls() {
        for url in ["http://a", "https://a.example:8/v1?x=y", "HTTPS://a/", "http://[::1]:80/"] {
            assert!(is_web_url(url), "{url}");
        }
        for url in ["", "a.example", "/v1", "ftp://a/", "file:///etc/passwd", "http://", "https:a"]
        {
            assert!(!is_web_url(url), "{url}");
        }
    }

    #[test]
    fn a_prompt_is_escaped_and_the_key_is_in_the_header_only() {
        let mut models = Models::new();
        models.start();
        let model = models.find(BUILT_IN[0]).unwrap();
        let request = encode(model, "say \"hi\"\n\u{1}", Some("secret")).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["messages"][0]["content"], "say \"hi\"\n\u{1}");
        assert_eq!(body["messages"][0]["role"], "user");
        assert_eq!(body["model"], BUILT_IN[0]);
        assert_eq!(body["temperature"], 0.7);
        assert_eq!(body["max_tokens"], 8192);
        assert!(request.headers.iter().any(|(_, value)| value == "Bearer secret"));
        assert!(!String::from_utf8_lossy(&request.body).contains("secret"));
    }
}
