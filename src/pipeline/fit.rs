//! Which targets of a model can serve a request: what it needs, and how long it is.

use crate::ai::chat::{Part, Request, ResponseFormat};
use crate::ai::dialect::Dialect;
use crate::ai::router::{Plan, RouteTarget};
use crate::ai::scan::Scan;
use crate::ai::tokenizer::{self, Encoding};
use crate::base::error::Failure;
use crate::config::Capability;

/// The targets that cannot serve a request, a bit for each. None: to know it the tokens must be
/// counted, which may block.
///
/// # Errors
/// 400 when no target can, with what is missing.
pub(super) fn unfit(
    plan: &Plan,
    dialect: Dialect,
    body: &[u8],
    scan: &Scan,
    may_block: bool,
) -> Result<Option<u64>, Failure> {
    let targets = &plan.route.targets;
    let says = |target: &RouteTarget| target.abilities.is_some() || target.context_tokens > 0;
    if !targets.iter().any(says) {
        return Ok(Some(0));
    }
    let request = dialect.decode_request(body).ok();
    let needs = needs(dialect, request.as_ref());
    let lacks = |target: &RouteTarget, need: Capability| {
        target.abilities.is_some_and(|can| can >> need as u8 & 1 == 0)
    };
    let mut unfit = 0;
    for (index, target) in targets.iter().enumerate() {
        unfit |= u64::from(needs.iter().any(|need| lacks(target, *need))) << index;
    }
    let all = u64::MAX >> (64 - targets.len().clamp(1, 64));
    if unfit == all {
        let missing = needs.iter().find(|need| targets.iter().all(|it| lacks(it, **need)));
        return Err(unsupported(&plan.model, missing.copied(), &needs));
    }
    let contexts = || {
        let fit = targets.iter().enumerate().filter(|(index, _)| unfit >> index & 1 == 0);
        fit.map(|(_, target)| target.context_tokens).map(|t| if t == 0 { u64::MAX } else { t })
    };
    // A token has at least one byte: short requests need no counting.
    let answer = scan.max_tokens.unwrap_or(0);
    let mut tokens = (body.len() as u64).saturating_add(answer);
    if contexts().any(|context| tokens > context) {
        if !may_block {
            return Ok(None);
        }
        let prompt = request.map(|request| tokenizer::count_request(Encoding::O200k, &request));
        tokens = prompt.unwrap_or_else(|| count(dialect, body)).saturating_add(answer);
    }
    let most = contexts().max().unwrap_or(0);
    if tokens > most {
        let message = format!(
            "This model's maximum context length is {most} tokens. The request needs {tokens}, \
             {answer} of them for the answer."
        );
        return Err(Failure::new(400, message).param("messages").code("context_length_exceeded"));
    }
    for (index, target) in targets.iter().enumerate() {
        let is_short = target.context_tokens > 0 && tokens > target.context_tokens;
        unfit |= u64::from(is_short) << index;
    }
    Ok(Some(unfit))
}

fn needs(dialect: Dialect, request: Option<&Request>) -> Vec<Capability> {
    let mut needs = Vec::new();
    if dialect == Dialect::OpenAiEmbeddings {
        needs.push(Capability::Embeddings);
    }
    let Some(request) = request else { return needs };
    if !request.tools.is_empty() {
        needs.push(Capability::Tools);
    }
    if request.messages.iter().any(|message| message.parts.iter().any(is_image)) {
        needs.push(Capability::Vision);
    }
    if matches!(request.response_format, ResponseFormat::JsonSchema { .. }) {
        needs.push(Capability::JsonSchema);
    }
    needs
}

fn is_image(part: &Part) -> bool {
    match part {
        Part::Image { .. } => true,
        Part::ToolResult { parts, .. } => parts.iter().any(is_image),
        _ => false,
    }
}

fn unsupported(model: &str, missing: Option<Capability>, needs: &[Capability]) -> Failure {
    let shown: String = model.chars().filter(|c| !c.is_control()).take(128).collect();
    let (what, param) = match missing {
        Some(Capability::Tools) => ("tools".to_owned(), "tools"),
        Some(Capability::Vision) => ("images".to_owned(), "messages"),
        Some(Capability::JsonSchema) => ("JSON schemas".to_owned(), "response_format"),
        Some(Capability::Embeddings) => ("embeddings".to_owned(), "model"),
        None => {
            let names: Vec<_> = needs.iter().map(|need| need.as_str()).collect();
            (format!("{} together", names.join(" and ")), "model")
        }
    };
    Failure::new(400, format!("The model '{shown}' does not support {what}."))
        .param(param)
        .code("unsupported_capability")
}

/// The tokens of a request's texts, counted; of what cannot be read, a guess by its length. May
/// block.
pub(super) fn count(dialect: Dialect, body: &[u8]) -> u64 {
    match dialect.decode_request(body) {
        Ok(request) => tokenizer::count_request(Encoding::O200k, &request),
        Err(_) => tokenizer::count_tokens(Encoding::O200k, &String::from_utf8_lossy(body)),
    }
}
