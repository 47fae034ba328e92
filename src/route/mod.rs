//! Routes: from method and path to whatever was registered for them.
//!
//! Static paths are one hash look-up. Patterns with `:param` and a final `*rest` stand in a tree
//! of segments; among those that match, a static segment beats a parameter, a parameter beats the
//! rest, and a longer pattern beats a shorter one. A node of the tree has one way to it, so a
//! look-up visits each node once at most, whatever the path says.
//!
//! Paths are compared as the request's decoded path, byte by byte; a trailing slash makes another
//! path. A method that a pattern does not have is looked for in the next matching pattern, so
//! `GET /a/me` beside `POST /a/:id` leaves `POST /a/me` its answer.
#![forbid(unsafe_code)]

mod pattern;

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::hash::NameHash;
use crate::base::limits;
use crate::exchange::Params;
use crate::http::head::Span;
use crate::http::method::Method;
use pattern::{Pattern, Segment};

pub use pattern::PatternError;

/// Why a route could not be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteError {
    /// The pattern is malformed.
    Pattern(PatternError),
    /// The method is not a token, or is CONNECT.
    Method,
    /// The same shape has this method already, whatever its names.
    Duplicate,
    /// The table is full.
    Full,
}

impl std::fmt::Display for RouteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RouteError::Pattern(error) => error.fmt(f),
            RouteError::Method => {
                f.write_str("the method is not a token such as GET, or \"*\"; CONNECT is refused")
            }
            RouteError::Duplicate => f.write_str("this method and pattern have a route already"),
            RouteError::Full => write!(f, "more than {} routes", limits::ROUTES_MAX),
        }
    }
}

/// What a look-up found.
#[derive(Debug)]
pub enum Found<'a, T> {
    /// The route. Its parameters are in the caller's list.
    Route(&'a T),
    /// The path is known, the method is not among the allowed ones.
    NotAllowed(Allowed),
    /// Nothing matches the path.
    Nothing,
}

/// The methods of a path, for the Allow header (RFC 9110 section 10.2.1).
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Allowed(Vec<String>);

impl Allowed {
    /// Takes the methods of another path in.
    pub fn merge(&mut self, other: Allowed) {
        other.0.into_iter().for_each(|method| self.add(&method));
    }

    fn add(&mut self, method: &str) {
        if !self.0.iter().any(|have| have == method) {
            self.0.push(method.to_owned());
            if method == "GET" {
                self.add("HEAD");
            }
        }
    }
}

impl std::fmt::Display for Allowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// A table of routes.
#[derive(Clone)]
pub struct Table<T> {
    fixed: HashMap<Vec<u8>, Leaf<T>, NameHash>,
    root: Node<T>,
    len: usize,
}

/// One route at the end of a pattern.
#[derive(Clone)]
struct Entry<T> {
    /// `None` is any method.
    method: Option<String>,
    known: Method,
    names: Arc<[Arc<str>]>,
    value: T,
}

#[derive(Clone)]
struct Leaf<T>(Vec<Entry<T>>);

#[derive(Clone)]
struct Node<T> {
    fixed: HashMap<Vec<u8>, Node<T>, NameHash>,
    param: Option<Box<Node<T>>>,
    end: Leaf<T>,
    rest: Leaf<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Node {
            fixed: HashMap::default(),
            param: None,
            end: Leaf(Vec::new()),
            rest: Leaf(Vec::new()),
        }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { fixed: HashMap::default(), root: Node::default(), len: 0 }
    }
}

impl<T> Table<T> {
    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a route. `method` is a token, or "*" for any but CONNECT.
    ///
    /// # Errors
    /// [`RouteError`]; then nothing has changed.
    pub fn insert(&mut self, method: &str, pattern: &str, value: T) -> Result<(), RouteError> {
        let method = check_method(method)?;
        let pattern = Pattern::parse(pattern).map_err(RouteError::Pattern)?;
        if self.len >= limits::ROUTES_MAX {
            return Err(RouteError::Full);
        }
        let leaf = self.leaf_mut(&pattern);
        if leaf.0.iter().any(|entry| entry.method == method) {
            return Err(RouteError::Duplicate);
        }
        let known = method.as_ref().map_or(Method::Other, |m| Method::from_token(m.as_bytes()));
        leaf.0.push(Entry { method, known, names: pattern.names(), value });
        // The entry for any method is looked at last.
        leaf.0.sort_by_key(|entry| entry.method.is_none());
        self.len += 1;
        Ok(())
    }

    /// Removes a route and returns what it held. Names of parameters do not matter.
    pub fn remove(&mut self, method: &str, pattern: &str) -> Option<T> {
        let method = check_method(method).ok()?;
        let pattern = Pattern::parse(pattern).ok()?;
        let leaf = self.leaf_mut(&pattern);
        let place = leaf.0.iter().position(|entry| entry.method == method)?;
        let entry = leaf.0.remove(place);
        if let (true, Some(path)) = (leaf.0.is_empty(), pattern.fixed_path()) {
            self.fixed.remove(path);
        }
        self.len -= 1;
        Some(entry.value)
    }

    /// Finds the route of a request. `params` is emptied first; on [`Found::Route`] it holds the
    /// parameters in order, as places in `path`.
    pub fn find(
        &self,
        method: Method,
        method_text: &[u8],
        path: &[u8],
        params: &mut Params,
    ) -> Found<'_, T> {
        params.clear();
        let wanted = Wanted { method, text: method_text };
        let mut allowed = Allowed::default();
        if let Some(leaf) = self.fixed.get(path) {
            match leaf.choose(&wanted) {
                Some(entry) => return Found::Route(&entry.value),
                None => leaf.tell(&mut allowed),
            }
        }
        let mut spans = Spans::default();
        if let Some(rest) = path.strip_prefix(b"/") {
            let found = self.root.find(rest, path, &wanted, &mut spans, &mut allowed);
            if let Some(entry) = found {
                for (name, span) in entry.names.iter().zip(spans.list) {
                    params.push(name, span);
                }
                return Found::Route(&entry.value);
            }
        }
        if allowed == Allowed::default() { Found::Nothing } else { Found::NotAllowed(allowed) }
    }

    fn leaf_mut(&mut self, pattern: &Pattern) -> &mut Leaf<T> {
        if let Some(path) = pattern.fixed_path() {
            return self.fixed.entry(path.to_vec()).or_insert_with(|| Leaf(Vec::new()));
        }
        let mut node = &mut self.root;
        for segment in pattern.segments() {
            node = match segment {
                Segment::Fixed(text) => node.fixed.entry(text.clone()).or_default(),
                Segment::Param => node.param.get_or_insert_default(),
                Segment::Rest => return &mut node.rest,
            };
        }
        &mut node.end
    }
}

/// The values found on the way down: a pattern has no more than these.
#[derive(Default)]
struct Spans {
    list: [Span; limits::ROUTE_PARAMS_MAX],
    len: usize,
}

impl Spans {
    fn push(&mut self, span: Span) {
        if let Some(place) = self.list.get_mut(self.len) {
            *place = span;
            self.len += 1;
        }
    }
}

struct Wanted<'a> {
    method: Method,
    text: &'a [u8],
}

impl<T> Leaf<T> {
    fn choose(&self, wanted: &Wanted<'_>) -> Option<&Entry<T>> {
        let fits = |entry: &&Entry<T>| match &entry.method {
            None => wanted.method != Method::Connect,
            Some(text) => match entry.known {
                Method::Other => wanted.text == text.as_bytes(),
                known => wanted.method == known,
            },
        };
        // HEAD is GET without a body (RFC 9110 section 9.3.2), unless it has a route of its own.
        self.0.iter().filter(|entry| entry.method.is_some()).find(fits).or_else(|| {
            let as_get = wanted.method == Method::Head;
            let get = self.0.iter().find(|entry| entry.known == Method::Get);
            get.filter(|_| as_get)
                .or_else(|| self.0.last().filter(|e| e.method.is_none()).filter(fits))
        })
    }

    fn tell(&self, allowed: &mut Allowed) {
        self.0.iter().filter_map(|entry| entry.method.as_ref()).for_each(|m| allowed.add(m));
    }
}

impl<T> Node<T> {
    /// `rest` is what remains of `path` after the slash that led here.
    fn find<'a>(
        &'a self,
        rest: &[u8],
        path: &[u8],
        wanted: &Wanted<'_>,
        spans: &mut Spans,
        allowed: &mut Allowed,
    ) -> Option<&'a Entry<T>> {
        let start = (path.len() - rest.len()) as u32;
        let slash = memchr::memchr(b'/', rest);
        let segment = &rest[..slash.unwrap_or(rest.len())];
        let depth = spans.len;
        if let Some(node) = self.fixed.get(segment) {
            let found = node.enter(slash, rest, path, wanted, spans, allowed);
            if found.is_some() {
                return found;
            }
        }
        if let (Some(node), false) = (&self.param, segment.is_empty()) {
            spans.push(Span { start, end: start + segment.len() as u32 });
            let found = node.enter(slash, rest, path, wanted, spans, allowed);
            if found.is_some() {
                return found;
            }
            spans.len = depth;
        }
        let found = self.rest.choose(wanted);
        match found {
            Some(_) => spans.push(Span { start, end: path.len() as u32 }),
            None => self.rest.tell(allowed),
        }
        found
    }

    fn enter<'a>(
        &'a self,
        slash: Option<usize>,
        rest: &[u8],
        path: &[u8],
        wanted: &Wanted<'_>,
        spans: &mut Spans,
        allowed: &mut Allowed,
    ) -> Option<&'a Entry<T>> {
        match slash {
            Some(slash) => self.find(&rest[slash + 1..], path, wanted, spans, allowed),
            None => {
                let found = self.end.choose(wanted);
                if found.is_none() {
                    self.end.tell(allowed);
                }
                found
            }
        }
    }
}

fn check_method(method: &str) -> Result<Option<String>, RouteError> {
    match method {
        "*" => Ok(None),
        "CONNECT" => Err(RouteError::Method),
        token if crate::http::encode::valid_name(token.as_bytes()) => Ok(Some(token.to_owned())),
        _ => Err(RouteError::Method),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[(&str, &str)]) -> Table<usize> {
        let mut table = Table::default();
        for (index, (method, pattern)) in routes.iter().enumerate() {
            table.insert(method, pattern, index).unwrap();
        }
        table
    }

    /// What a look-up answers, as text: route and parameters, or the allowed methods.
    fn look(table: &Table<usize>, method: &str, path: &str) -> String {
        let mut params = Params::new();
        let found = table.find(
            Method::from_token(method.as_bytes()),
            method.as_bytes(),
            path.as_bytes(),
            &mut params,
        );
        match found {
            Found::Route(index) => {
                let mut text = index.to_string();
                for (name, span) in params.iter() {
                    let name = std::str::from_utf8(name).unwrap();
                    let value = std::str::from_utf8(span.of(path.as_bytes())).unwrap();
                    text += &format!(" {name}={value}");
                }
                text
            }
            Found::NotAllowed(allowed) => format!("405 {allowed}"),
            Found::Nothing => "404".to_owned(),
        }
    }

    #[test]
    fn the_most_specific_pattern_wins() {
        let table = table(&[
            ("GET", "/a"),
            ("GET", "/a/:x"),
            ("GET", "/a/me"),
            ("POST", "/a/:y"),
            ("GET", "/a/:x/b"),
            ("*", "/files/*rest"),
            ("GET", "/files/list"),
            ("GET", "/files/deep/*more"),
            ("GET", "/"),
            ("PROPFIND", "/a"),
            ("*", "/any"),
            ("GET", "/any"),
        ]);
        for (method, path, want) in [
            ("GET", "/a", "0"),
            ("HEAD", "/a", "0"),
            ("PROPFIND", "/a", "9"),
            ("PATCH", "/a", "405 GET, HEAD, PROPFIND"),
            ("GET", "/a/", "404"),
            ("GET", "/a/1", "1 x=1"),
            ("GET", "/a/me", "2"),
            ("POST", "/a/me", "3 y=me"),
            ("POST", "/a/7", "3 y=7"),
            ("PUT", "/a/7", "405 GET, HEAD, POST"),
            ("PUT", "/a/me", "405 GET, HEAD, POST"),
            ("GET", "/a/me/b", "4 x=me"),
            ("GET", "/a//b", "404"),
            ("GET", "/files/list", "6"),
            ("POST", "/files/list", "5 rest=list"),
            ("GET", "/files/", "5 rest="),
            ("GET", "/files", "404"),
            ("DELETE", "/files/x/y/", "5 rest=x/y/"),
            ("GET", "/files/deep/z", "7 more=z"),
            ("PUT", "/files/deep/z", "5 rest=deep/z"),
            ("CONNECT", "/any", "405 GET, HEAD"),
            ("GET", "/any", "11"),
            ("HEAD", "/any", "11"),
            ("BREW", "/any", "10"),
            ("GET", "/", "8"),
            ("GET", "/nothing", "404"),
            ("OPTIONS", "*", "404"),
        ] {
            assert_eq!(look(&table, method, path), want, "{method} {path}");
        }
    }

    #[test]
    fn shapes_are_unique_whatever_their_names() {
        let mut table = table(&[("GET", "/a/:x"), ("*", "/f/*r")]);
        assert_eq!(table.insert("GET", "/a/:other", 9), Err(RouteError::Duplicate));
        assert_eq!(table.insert("*", "/f/*all", 9), Err(RouteError::Duplicate));
        assert_eq!(table.insert("CONNECT", "/c", 9), Err(RouteError::Method));
        assert_eq!(table.insert("G ET", "/c", 9), Err(RouteError::Method));
        assert_eq!(table.remove("GET", "/a/:z"), Some(0));
        assert_eq!(table.remove("GET", "/a/:z"), None);
        assert_eq!(look(&table, "GET", "/a/1"), "404");
        table.insert("GET", "/a/:again", 3).unwrap();
        assert_eq!(look(&table, "GET", "/a/1"), "3 again=1");
        assert_eq!(table.len(), 2);
    }
}
