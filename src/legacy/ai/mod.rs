//! The headers of the `ai/` folder.

pub mod prompt_router;
pub mod stats;
pub mod tokenizer;
