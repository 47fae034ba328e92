//! The routes of the old interface: one table for the process, asked before anything else.
//!
//! Paths are compared as received. An exact path goes before one with parameters; of several
//! registrations of one path and method the latest counts; a host's route goes before a built-in page.

use super::types::{METHODS, Server};
use crate::plugin::abi::{HttpRequest, RouteResponse};
use std::collections::BTreeMap;
use std::ffi::c_int;

/// A handler that is not NULL.
pub type Handler = unsafe extern "C" fn(*mut Server, *mut HttpRequest, *mut RouteResponse) -> c_int;
/// A middleware that is not NULL.
pub type Middleware = unsafe extern "C" fn(*mut HttpRequest, *mut RouteResponse) -> c_int;

/// Parameters of one path.
const PARAMS_MAX: usize = 8;
/// Bytes of a parameter's name.
const NAME_BYTES_MAX: usize = 31;
/// Middleware in the process.
const MIDDLEWARE_MAX: usize = 8;
/// Routes in the process.
const ROUTES_MAX: usize = 65_536;

/// GET and HEAD of parser.h.
pub const GET: c_int = 0;
const POST: c_int = 1;
pub const HEAD: c_int = 4;
pub const OPTIONS: c_int = 5;

/// The built-in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    /// `GET /`
    Root,
    /// `GET /health`
    Health,
    /// `GET /stats`
    Stats,
    /// `POST /v1/chat`
    Chat,
}

const PAGES: [(&[u8], c_int, Page); 4] = [
    (b"/v1/chat", POST, Page::Chat),
    (b"/stats", GET, Page::Stats),
    (b"/health", GET, Page::Health),
    (b"/", GET, Page::Root),
];

/// What answers.
#[derive(Clone, Copy)]
pub enum Target {
    /// A function of the host.
    Host(Handler),
    /// A page of ours.
    Page(Page),
}

/// What a path and method lead to.
pub enum Found {
    /// This answers.
    Target(Target),
    /// The path is known, with these methods.
    NotAllowed(Vec<c_int>),
    /// Nothing is there.
    Nothing,
}

/// A path with parameters.
struct Pattern {
    /// `None` matches any one segment.
    segments: Vec<Option<Vec<u8>>>,
    method: c_int,
    handler: Handler,
}

/// The table.
pub struct Routes {
    exact: BTreeMap<Vec<u8>, Vec<(c_int, Handler)>>,
    patterns: Vec<Pattern>,
    middleware: Vec<Middleware>,
    pages: bool,
}

/// Without the slash at its end, unless it is all.
fn without_last_slash(path: &[u8]) -> &[u8] {
    match path {
        [] => b"/",
        [rest @ .., b'/'] if !rest.is_empty() => rest,
        path => path,
    }
}

fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    without_last_slash(path).split(|&byte| byte == b'/').skip(1)
}

impl Routes {
    /// Nothing registered.
    pub const fn new() -> Routes {
        Routes {
            exact: BTreeMap::new(),
            patterns: Vec::new(),
            middleware: Vec::new(),
            pages: false,
        }
    }

    /// Adds the built-in pages.
    pub fn add_pages(&mut self) {
        self.pages = true;
    }

    /// Removes routes and pages; middleware stays.
    pub fn clear(&mut self) {
        self.exact.clear();
        self.patterns.clear();
        self.pages = false;
    }

    /// Adds a route, in place of an earlier one of the same path and method. Whether it can be one.
    pub fn add(&mut self, path: &[u8], method: c_int, handler: Handler) -> bool {
        if !path.starts_with(b"/") || !(0..=METHODS.len() as c_int).contains(&method) {
            return false;
        }
        if self.exact.len() + self.patterns.len() >= ROUTES_MAX {
            return false;
        }
        let names: Vec<&[u8]> = segments(path).filter_map(|part| part.strip_prefix(b":")).collect();
        if names.is_empty() {
            let entries = self.exact.entry(without_last_slash(path).to_vec()).or_default();
            match entries.iter_mut().find(|(known, _)| *known == method) {
                Some(known) => known.1 = handler,
                None => entries.push((method, handler)),
            }
            return true;
        }
        if names.len() > PARAMS_MAX || names.iter().any(|name| name.len() > NAME_BYTES_MAX) {
            return false;
        }
        let segments: Vec<Option<Vec<u8>>> =
            segments(path).map(|part| (!part.starts_with(b":")).then(|| part.to_vec())).collect();
        let same =
            |pattern: &&mut Pattern| pattern.method == method && pattern.segments == segments;
        match self.patterns.iter_mut().find(same) {
            Some(known) => known.handler = handler,
            None => self.patterns.push(Pattern { segments, method, handler }),
        }
        true
    }

    /// Appends a middleware; whether there was room.
    pub fn add_middleware(&mut self, middleware: Middleware) -> bool {
        let room = self.middleware.len() < MIDDLEWARE_MAX;
        if room {
            self.middleware.push(middleware);
        }
        room
    }

    /// In order of registration.
    pub fn middleware(&self) -> Vec<Middleware> {
        self.middleware.clone()
    }

    /// What answers this path and method. HEAD is answered by GET's target where it has none of its own.
    pub fn find(&self, path: &[u8], method: c_int) -> Found {
        let all = self.all(path);
        let of = |wanted: c_int| {
            all.iter().find(|(known, _)| *known == wanted).map(|(_, target)| *target)
        };
        let target = of(method).or_else(|| if method == HEAD { of(GET) } else { None });
        match target {
            Some(target) => Found::Target(target),
            None if all.is_empty() => Found::Nothing,
            None => Found::NotAllowed(all.iter().map(|(method, _)| *method).collect()),
        }
    }

    /// Every method of a path with its target, the one that counts first.
    fn all(&self, path: &[u8]) -> Vec<(c_int, Target)> {
        let exact = self.exact.get(without_last_slash(path)).map_or(&[][..], Vec::as_slice);
        let mut all: Vec<(c_int, Target)> =
            exact.iter().map(|(method, handler)| (*method, Target::Host(*handler))).collect();
        let parts: Vec<&[u8]> = segments(path).collect();
        for pattern in self.patterns.iter().rev() {
            let fits = pattern.segments.len() == parts.len()
                && pattern.segments.iter().zip(&parts).all(|(wanted, part)| match wanted {
                    Some(text) => text == part,
                    None => !part.is_empty(),
                });
            if fits {
                all.push((pattern.method, Target::Host(pattern.handler)));
            }
        }
        if self.pages {
            let pages =
                PAGES.iter().filter(|(page_path, ..)| *page_path == without_last_slash(path));
            all.extend(pages.map(|(_, method, page)| (*method, Target::Page(*page))));
        }
        all
    }
}

impl Default for Routes {
    fn default() -> Self {
        Routes::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" fn one(_: *mut Server, _: *mut HttpRequest, _: *mut RouteResponse) -> c_int {
        1
    }
    unsafe extern "C" fn two(_: *mut Server, _: *mut HttpRequest, _: *mut RouteResponse) -> c_int {
        2
    }

    fn show(found: Found) -> String {
        // SAFETY: the test's own handlers look at nothing.
        let call = |handler: Handler| unsafe {
            handler(std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut())
        };
        match found {
            Found::Target(Target::Host(handler)) => format!("host {}", call(handler)),
            Found::Target(Target::Page(page)) => format!("{page:?}"),
            Found::NotAllowed(methods) => format!("not allowed {methods:?}"),
            Found::Nothing => "nothing".into(),
        }
    }

    #[test]
    fn the_host_goes_first_then_exact_then_parameters_then_pages() {
        let mut routes = Routes::new();
        assert_eq!(show(routes.find(b"/", GET)), "nothing");
        routes.add_pages();
        routes.add_pages();
        for (path, method, handler) in [
            ("/a/:id", GET, one as Handler),
            ("/a/b", GET, two),
            ("/:x/:y/c", POST, one),
            ("/dup", GET, one),
            ("/dup", GET, two),
            ("/slash/", GET, one),
        ] {
            assert!(routes.add(path.as_bytes(), method, handler), "{path}");
        }
        for (path, method, expected) in [
            ("/", GET, "Root"),
            ("/", HEAD, "Root"),
            ("/health", GET, "Health"),
            ("/health/a/a", GET, "nothing"),
            ("/health", POST, "not allowed [0]"),
            ("/v1/chat", GET, "not allowed [1]"),
            ("/a/b", GET, "host 2"),
            ("/a/z", GET, "host 1"),
            ("/a/z/", GET, "host 1"),
            ("/a//", GET, "nothing"),
            ("/a/z", POST, "not allowed [0]"),
            ("/p/q/c", POST, "host 1"),
            ("/p/q/d", POST, "nothing"),
            ("/dup", GET, "host 2"),
            ("/slash", GET, "host 1"),
            ("", GET, "Root"),
        ] {
            assert_eq!(show(routes.find(path.as_bytes(), method)), expected, "{path} {method}");
        }
        routes.add(b"/", GET, one);
        assert_eq!(show(routes.find(b"/", GET)), "host 1");
        routes.clear();
        assert_eq!(show(routes.find(b"/", GET)), "nothing");
    }

    #[test]
    fn what_cannot_be_a_route_is_refused() {
        let mut routes = Routes::new();
        let long = format!("/:{}", "n".repeat(32));
        for (path, method) in [
            ("", GET),
            ("a", GET),
            ("/a", -1),
            ("/a", 8),
            ("/:1/:2/:3/:4/:5/:6/:7/:8/:9", GET),
            (&long, GET),
        ] {
            assert!(!routes.add(path.as_bytes(), method, one), "{path} {method}");
        }
        assert!(routes.add(b"/:1/:2/:3/:4/:5/:6/:7/:8", 7, one));
    }
}
