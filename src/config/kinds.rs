//! The kinds of providers: what they speak, where they are, which variable holds their key.
#![forbid(unsafe_code)]

/// What a provider speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Dialect {
    /// OpenAI's chat completions, embeddings and responses.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Google's generateContent.
    Gemini,
    /// Ollama's own API.
    Ollama,
    /// None: answered inside the process.
    Echo,
    /// None: the models of the program itself (`nh_server_model`).
    Host,
}

/// One kind of provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// The word in `kind`.
    pub name: &'static str,
    /// What it speaks.
    pub dialect: Dialect,
    /// Where its API begins; empty when it has no address.
    pub base_url: &'static str,
    /// The variables that usually hold its key; the first that is set counts.
    pub key_variables: &'static [&'static str],
    /// The variable that usually replaces `base_url`; empty: none.
    pub base_url_variable: &'static str,
    /// It answers nothing without a key.
    pub needs_key: bool,
}

/// Whether this build can talk to providers of a dialect.
pub const fn available(dialect: Dialect) -> bool {
    matches!(
        dialect,
        Dialect::OpenAi
            | Dialect::Anthropic
            | Dialect::Gemini
            | Dialect::Ollama
            | Dialect::Echo
            | Dialect::Host
    )
}

const fn hosted(
    name: &'static str,
    key_variables: &'static [&'static str],
    base_url: &'static str,
) -> Kind {
    let dialect = Dialect::OpenAi;
    Kind { name, dialect, base_url, key_variables, base_url_variable: "", needs_key: true }
}

const fn local(name: &'static str, dialect: Dialect, base_url: &'static str) -> Kind {
    Kind { name, dialect, base_url, key_variables: &[], base_url_variable: "", needs_key: false }
}

/// Every kind. Providers found in the environment come in this order, so its first row is the
/// first choice for names that nothing else matches.
pub const KINDS: &[Kind] = &[
    Kind {
        base_url_variable: "OPENAI_BASE_URL",
        ..hosted("openai", &["OPENAI_API_KEY"], "https://api.openai.com/v1")
    },
    Kind {
        dialect: Dialect::Anthropic,
        ..hosted("anthropic", &["ANTHROPIC_API_KEY"], "https://api.anthropic.com/v1")
    },
    Kind {
        dialect: Dialect::Gemini,
        ..hosted("gemini", &["GEMINI_API_KEY"], "https://generativelanguage.googleapis.com/v1beta")
    },
    hosted("groq", &["GROQ_API_KEY"], "https://api.groq.com/openai/v1"),
    hosted("mistral", &["MISTRAL_API_KEY"], "https://api.mistral.ai/v1"),
    hosted("deepseek", &["DEEPSEEK_API_KEY"], "https://api.deepseek.com/v1"),
    hosted("together", &["TOGETHER_API_KEY"], "https://api.together.ai/v1"),
    hosted("fireworks", &["FIREWORKS_API_KEY"], "https://api.fireworks.ai/inference/v1"),
    hosted("openrouter", &["OPENROUTER_API_KEY"], "https://openrouter.ai/api/v1"),
    hosted("perplexity", &["PERPLEXITY_API_KEY"], "https://api.perplexity.ai/v1"),
    hosted("moonshot", &["MOONSHOT_API_KEY"], "https://api.moonshot.ai/v1"),
    hosted("zai", &["ZAI_API_KEY"], "https://api.z.ai/api/paas/v4"),
    hosted("zhipu", &["ZHIPUAI_API_KEY", "ZHIPU_API_KEY"], "https://open.bigmodel.cn/api/paas/v4"),
    hosted("xai", &["XAI_API_KEY"], "https://api.x.ai/v1"),
    hosted("nvidia", &["NVIDIA_API_KEY"], "https://integrate.api.nvidia.com/v1"),
    hosted("cerebras", &["CEREBRAS_API_KEY"], "https://api.cerebras.ai/v1"),
    hosted("sambanova", &["SAMBANOVA_API_KEY"], "https://api.sambanova.ai/v1"),
    hosted("cohere", &["COHERE_API_KEY", "CO_API_KEY"], "https://api.cohere.ai/compatibility/v1"),
    hosted("deepinfra", &["DEEPINFRA_API_KEY"], "https://api.deepinfra.com/v1/openai"),
    hosted("huggingface", &[], "https://router.huggingface.co/v1"),
    hosted(
        "dashscope",
        &["DASHSCOPE_API_KEY"],
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    ),
    local("ollama", Dialect::Ollama, "http://127.0.0.1:11434"),
    local("vllm", Dialect::OpenAi, "http://127.0.0.1:8000/v1"),
    // Its address holds the customer's name: `base_url` is mandatory.
    Kind { needs_key: false, ..hosted("azure", &[], "") },
    local("llamacpp", Dialect::OpenAi, "http://127.0.0.1:8081/v1"),
    local("lmstudio", Dialect::OpenAi, "http://127.0.0.1:1234/v1"),
    local("echo", Dialect::Echo, ""),
    local("host", Dialect::Host, ""),
];

/// Whether what speaks so is inside the process, without an address.
pub const fn is_inside(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::Echo | Dialect::Host)
}

/// The kind with this name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// "one of …" with every name, for errors.
pub(crate) fn expected() -> &'static str {
    static EXPECTED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    EXPECTED.get_or_init(|| {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        format!("one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: a row that its own checks would refuse, or that hides another.
    #[test]
    fn rows_are_sound() {
        let mut names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS.len());
        for kind in KINDS {
            assert!(super::super::check::provider_name(kind.name).is_ok(), "{}", kind.name);
            if is_inside(kind.dialect) || kind.name == "azure" {
                assert!(kind.base_url.is_empty());
                continue;
            }
            assert!(super::super::check::base_url(kind.base_url).is_ok(), "{}", kind.name);
            assert!(!kind.base_url.ends_with('/'), "{}", kind.name);
        }
    }
}
