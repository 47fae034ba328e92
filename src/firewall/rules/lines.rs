//! Headers and log lines that a value smuggles in.

use super::super::engine::Spec;
use super::super::place;
use super::{rule, within};

/// Values that become part of a header or a log line.
const LINES: u16 = place::PATH
    | place::QUERY
    | place::FORM
    | place::COOKIE
    | place::HEADER
    | place::NAME
    | place::FILE
    | place::BROKEN;

pub(super) const RULES: &[Spec] = &[
    within(
        LINES,
        rule(
            "crlf.header",
            5,
            &[
                "@Nset-cookie",
                "@Nlocation",
                "@Ncontent-",
                "@Nhttp/",
                "@Nhost:",
                "@Ntransfer-",
                "@Nx-",
                "@Nrefresh",
                "@Nlink:",
                "@Naccess-control",
                "@Nstatus:",
                "@Ncookie",
                "@Nreferer",
                "@Nuser-agent",
                "@Nauthorization",
                "@Nconnection",
                "@Nbcc",
                "@Ncc:",
                "@Nto:",
                "@Nfrom:",
                "@Nsubject",
                "@Nmime-",
                "@Nreply-to",
                "@Nget ",
                "@Npost ",
                "@Ninjected",
                "@N<script",
                "@N<html",
                "@Nheader",
                "@Nany",
                "@Ncrlf",
                "@Nclear-site",
                "@Nstrict-transport",
                "@Nwww-auth",
                "@N\n",
                "@Nwarning",
                "@Ncontent",
                "@Ncache-control",
                "@Nevil",
                "@Ntest",
                "\\nset-cookie",
                "\\nlocation",
                "\\nhttp/",
                "\\ncontent-",
            ],
            r"\n\s?(?:set-cookie2?|location|content-[a-z-]+|host|transfer-encoding|x-[a-z-]{2,40}|refresh|link|access-control-[a-z-]+|status|cookie|referer|user-agent|authorization|connection|bcc|cc|to|from|subject|mime-version|reply-to|injected[\w-]*|header[\w-]*|crlf[\w-]*|evil[\w-]*|test[\w-]*|any[\w-]*|clear-site-data|strict-transport-security|www-authenticate|warning|cache-control)\s?:|\n\s?http/[12]|\n\s?(?:get|post|head|put|delete|options)\s+/\S*\s+http/|\n\s?<(?:script|html|svg|img)|\\r\\n(?:set-cookie|location|content-[a-z-]+)\s?:|\\r\\nhttp/[12]",
        ),
    ),
    within(
        place::JSON,
        rule(
            "crlf.json",
            3,
            &["@Nset-cookie", "@Nlocation:", "@Nhttp/", "@Nbcc", "@Ncontent-length", "@Ntransfer-"],
            r"\n\s?(?:set-cookie|location|bcc|content-length|transfer-encoding)\s?:|\n\s?http/[12]",
        ),
    ),
];
