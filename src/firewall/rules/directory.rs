//! Filters of directories, paths of XML.

use super::super::engine::Spec;
use super::rule;

pub(super) const RULES: &[Spec] = &[
    rule(
        "ldap.filter",
        5,
        &[
            ")(", "*)(", "(|(", "(&(", "(!(", "*))", ")(|", ")(&", "*)%00", "*()", ")) (",
            "admin*)", "|(", "*)\0",
        ],
        r"(?:\*?\)+\s?\(+\s?(?:[|&!]\s?\(*\s?)?[a-z][\w-]{0,30}\s?[~<>]?=|\(\s?[|&!]\s?\(\s?[a-z][\w-]{0,30}\s?[~<>]?=|\*\)\)|\)\s?\(\s?[|&!]|\*\)\(|\*\(\)\||\w\*\)\s*$|\*\)\s*(?:;|$))",
    ),
    rule(
        "xpath.expression",
        5,
        &[
            "count(/",
            "string-length(",
            "::node()",
            "::*",
            "//*",
            "/*[",
            "doc(",
            "position()",
            "text()",
            "name(/",
            "name()",
            "ancestor::",
            "child::",
            "parent::",
            "descendant::",
            "following::",
            "preceding::",
            "substring(/",
            "substring(name",
            "starts-with(",
            "contains(",
            "']|",
            "'] |",
            "' or //",
            "last()",
            "/text()",
            "//user",
            "comment()",
            "unparsed-text",
            "doc-available",
            "'] or",
            "boolean(",
        ],
        r"(?:count\s?\(\s?(?:/|child|//)|string-length\s?\(|(?:ancestor|child|parent|following|preceding|descendant|self|attribute)(?:-or-self|-sibling)?::(?:node|\*|text|\w+)|(?:^|[\s'\x22|(=])//\*|/\*\[|\bdoc(?:-available)?\s?\(\s?['\x22]?(?:https?|file|concat|//)|position\s?\(\s?\)\s?[=<>]|/text\s?\(\s?\)|(?:local-)?name\s?\(\s?(?:/|\.|\))|substring\s?\(\s?(?:/|name|//)|starts-with\s?\(\s?(?:/|name|\w+\s?,\s?')|['\x22]\s?\]\s?(?:\||or|and|/)|last\s?\(\s?\)\s?[-\]=]|//user|comment\s?\(\s?\)|unparsed-text|contains\s?\(\s?(?:\.|/|name|\w+\s?,\s?'))",
    ),
];
