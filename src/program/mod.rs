//! What the program does beside serving. Nothing of it is in the library.

pub(crate) mod bench;
pub(crate) mod terminal;
pub(crate) mod top;
pub(crate) mod url;
