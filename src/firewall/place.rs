//! Where a value stands in a request; one bit each.

/// The path of the target.
pub const PATH: u16 = 1;
/// A field of the query.
pub const QUERY: u16 = 2;
/// A field of a form.
pub const FORM: u16 = 4;
/// A string in a JSON body.
pub const JSON: u16 = 8;
/// A header field.
pub const HEADER: u16 = 16;
/// User-Agent.
pub const AGENT: u16 = 32;
/// A cookie.
pub const COOKIE: u16 = 64;
/// The name of a field, cookie or member.
pub const NAME: u16 = 128;
/// The name of an uploaded file.
pub const FILE: u16 = 256;
/// A body that is none of these.
pub const TEXT: u16 = 512;
/// A header field that holds URLs by its nature: Referer, Origin.
pub const LINK: u16 = 1024;
/// All of them.
pub const ALL: u16 = 2047;
/// A body of XML as a whole, for rules about XML itself; its values are `TEXT`.
pub const XML: u16 = 4096;
/// Not a place: the value has a line break that was written in some code.
pub const BROKEN: u16 = 2048;
