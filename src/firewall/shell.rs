//! Commands of a shell behind a separator, as `; id`, `| nc -e`, `$(whoami)` or a line of its own.

use std::ops::Range;

use super::place;

/// Where commands are looked for. A path is not handed to a shell with its separators.
pub const PLACES: u16 = place::ALL & !place::AGENT;

/// Commands that are no words of a language, or hardly.
const SURE: &[&[u8]] = &[
    b"whoami",
    b"ifconfig",
    b"ipconfig",
    b"netstat",
    b"uname",
    b"nslookup",
    b"wget",
    b"curl",
    b"ncat",
    b"netcat",
    b"nc",
    b"bash",
    b"zsh",
    b"ksh",
    b"csh",
    b"dash",
    b"sh",
    b"powershell",
    b"pwsh",
    b"cmd",
    b"systeminfo",
    b"tasklist",
    b"mkfifo",
    b"chmod",
    b"chown",
    b"useradd",
    b"adduser",
    b"passwd",
    b"printenv",
    b"busybox",
    b"telnet",
    b"tftp",
    b"scp",
    b"certutil",
    b"bitsadmin",
    b"wmic",
    b"lsof",
    b"crontab",
    b"iptables",
    b"dmesg",
    b"hostname",
    b"id",
    b"ls",
    b"cat",
    b"pwd",
    b"ps",
    b"rm",
    b"dir",
    b"echo",
    b"ping",
    b"ping6",
    b"sleep",
    b"grep",
    b"egrep",
    b"awk",
    b"gawk",
    b"sed",
    b"xargs",
    b"tee",
    b"env",
    b"python",
    b"python2",
    b"python3",
    b"perl",
    b"ruby",
    b"php",
    b"lua",
    b"gcc",
    b"dig",
    b"ssh",
    b"sudo",
    b"su",
    b"base64",
    b"xxd",
    b"hexdump",
    b"df",
    b"du",
    b"uptime",
    b"reboot",
    b"poweroff",
    b"umount",
    b"mkdir",
    b"rmdir",
    b"chattr",
    b"nohup",
    b"printf",
    b"getent",
    b"traceroute",
    b"tracert",
    b"systemctl",
    b"journalctl",
    b"kubectl",
    b"taskkill",
    b"schtasks",
    b"icacls",
    b"findstr",
    b"regsvr32",
    b"rundll32",
    b"mshta",
    b"cscript",
    b"wscript",
    b"nmap",
    b"socat",
    b"openssl",
    b"tac",
    b"nl",
    b"od",
    b"rev",
    b"ftp",
    b"wc",
    b"ip",
    b"arp",
    b"net",
    b"touch",
    b"cp",
    b"mv",
    b"dd",
    b"tar",
    b"unzip",
    b"phpinfo",
    b"set",
    b"type",
    b"head",
    b"tail",
    b"who",
    b"w",
    b"node",
    b"calc",
    b"vim",
    b"vi",
    b"nano",
    b"groups",
    b"lynx",
    b"fetch",
    b"strings",
    b"ln",
    b"shred",
    b"kill",
    b"killall",
    b"pkill",
    b"ver",
];

/// Of those: words that need an argument, a path, or the end of the value behind them.
const WORDS: &[&[u8]] = &[
    b"set",
    b"type",
    b"head",
    b"tail",
    b"who",
    b"w",
    b"node",
    b"calc",
    b"net",
    b"touch",
    b"fetch",
    b"id",
    b"strings",
    b"kill",
    b"groups",
    b"ip",
    b"su",
    b"env",
    b"sh",
    b"cmd",
    b"nl",
    b"od",
    b"rev",
    b"ver",
    b"php",
    b"ruby",
    b"python",
    b"sleep",
    b"dash",
    b"cat",
    b"echo",
    b"ping",
    b"passwd",
    b"printf",
    b"ps",
    b"hostname",
    b"vi",
    b"dir",
    b"df",
    b"more",
    b"less",
    b"find",
    b"sort",
    b"read",
    b"export",
    b"eval",
    b"exec",
    b"source",
    b"java",
    b"copy",
    b"del",
    b"move",
    b"start",
    b"host",
    b"file",
    b"stat",
    b"cut",
    b"date",
    b"mail",
    b"watch",
    b"screen",
    b"shutdown",
    b"mount",
    b"time",
    b"timeout",
    b"locate",
    b"which",
    b"xcopy",
    b"apt",
    b"yum",
    b"git",
    b"docker",
    b"go",
    b"make",
    b"sc",
    b"reg",
    b"attrib",
    b"test",
    b"nice",
    b"diff",
    b"last",
    b"finger",
    b"fold",
    b"paste",
    b"script",
    b"wait",
    b"at",
];

/// What may stand before a command.
const SEPARATORS: [bool; 256] = {
    let mut table = [false; 256];
    let signs = b";|&`\n$<>";
    let mut at = 0;
    while at < signs.len() {
        table[signs[at] as usize] = true;
        at += 1;
    }
    table
};

/// The lengths of commands by their first letter, a bit each: most words are none at a glance.
const LENGTHS: [u32; 26] = {
    let mut lengths = [0; 26];
    let mut list = 0;
    while list < 2 {
        let commands = [SURE, WORDS][list];
        let mut at = 0;
        while at < commands.len() {
            let command = commands[at];
            assert!(command.len() < 32 && command[0].is_ascii_lowercase());
            lengths[(command[0] - b'a') as usize] |= 1 << command.len();
            at += 1;
        }
        list += 1;
    }
    lengths
};

fn may_be_command(name: &[u8]) -> bool {
    let Some(first) = name.first().filter(|first| first.is_ascii_lowercase()) else { return false };
    let lengths = LENGTHS[usize::from(first - b'a') % 26];
    name.len() < 32 && lengths >> name.len() & 1 == 1
}

/// The first command in a normalized text: where, and whether it is beyond doubt.
pub fn find(text: &[u8]) -> Option<(Range<usize>, bool)> {
    let mut unsure = None;
    for (start, &byte) in text.iter().enumerate() {
        if !SEPARATORS[usize::from(byte)] {
            continue;
        }
        let at = start + 1;
        if matches!(byte, b'$' | b'<' | b'>') && text.get(at) != Some(&b'(') {
            continue;
        }
        let Some(end) = command(text, at) else { continue };
        if byte == b'\n' && text.len() > 160 {
            // A line of a longer text may begin with anything.
            unsure = unsure.or(Some((start..end, false)));
            continue;
        }
        return Some((start..end, true));
    }
    unsure
}

/// The end of a command that begins here, behind its separator.
fn command(text: &[u8], from: usize) -> Option<usize> {
    let mut start = from;
    // Further separators, quotes and brackets before the word: `|| (`, `; "`.
    while let Some(
        b' ' | b'\n' | b'(' | b'|' | b'&' | b'{' | b';' | b'\'' | b'"' | b'@' | b'!' | b'`',
    ) = text.get(start)
    {
        start += 1;
        if start - from > 8 {
            return None;
        }
    }
    let rest = text.get(start..)?;
    let length = rest
        .iter()
        .take(64)
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'~'))
        .count();
    let word = rest.get(..length)?;
    let name = word.rsplit(|&byte| byte == b'/').next()?;
    let has_path = name.len() < word.len();
    let name = name.strip_suffix(b".exe").unwrap_or(name);
    let end = start + length;
    let behind = text.get(end..).unwrap_or_default();
    if has_path && name.len() >= 2 && word.first() == Some(&b'/') && is_bin(word) {
        return Some(end);
    }
    if !may_be_command(name) {
        return None;
    }
    let is_sure = SURE.contains(&name);
    let is_word = WORDS.contains(&name);
    if !is_sure && !is_word {
        return None;
    }
    // `a;id=5` names a field, `;set-cookie` a header.
    let ends = match behind.first() {
        None => true,
        Some(
            b' ' | b'\n' | b'<' | b'>' | b'|' | b';' | b'&' | b'`' | b')' | b'$' | b'{' | b'}',
        ) => true,
        Some(b'\'' | b'"' | b'#' | b'\\' | b'%' | b'@' | b'*') => true,
        Some(b',') => is_sure && !is_word,
        _ => false,
    };
    if !ends {
        return None;
    }
    if is_signed_name(text, start, name, behind) {
        return None;
    }
    (!is_word || is_argument(behind)).then_some(end)
}

/// Whether a word is one of the names of header fields that a signature is over, as in
/// `SignedHeaders=content-type;host;x-amz-date`.
fn is_signed_name(text: &[u8], start: usize, name: &[u8], behind: &[u8]) -> bool {
    let is_letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_lowercase);
    matches!(name, b"host" | b"date")
        && start >= 2
        && text.get(start - 1) == Some(&b';')
        && is_letter(text.get(start - 2))
        && behind.first() == Some(&b';')
        && is_letter(behind.get(1))
}

fn is_bin(word: &[u8]) -> bool {
    let has = |part: &[u8]| memchr::memmem::find(word, part).is_some();
    has(b"bin/") || has(b"/tmp/") || has(b"/etc/")
}

/// Whether what follows is an argument, another command, or nothing.
fn is_argument(behind: &[u8]) -> bool {
    let trimmed = behind.trim_ascii_start();
    match trimmed.first() {
        None => true,
        Some(
            b'-' | b'/' | b'.' | b'~' | b'$' | b'%' | b'*' | b'>' | b'<' | b'|' | b'&' | b';'
            | b'`' | b'\'' | b'"' | b'\\' | b')' | b'{' | b'}' | b'#',
        ) => true,
        Some(byte) if byte.is_ascii_digit() => true,
        // `type c:\x`, `echo vulnerable`: a single word to the end.
        Some(_) => {
            let word = trimmed
                .iter()
                .take_while(|b| {
                    b.is_ascii_alphanumeric()
                        || matches!(b, b'.' | b'_' | b':' | b'/' | b'\\' | b'-' | b'+')
                })
                .count();
            let rest = trimmed.get(word..).unwrap_or_default().trim_ascii();
            word > 0
                && rest.first().is_none_or(|b| {
                    matches!(b, b';' | b'|' | b'&' | b'`' | b')' | b'>' | b'#' | b'\'' | b'"')
                })
        }
    }
}

/// The text as a shell reads a word: without quotes and backslashes inside it. False when there are
/// none inside words.
pub fn squeeze(text: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let is_word = |byte: Option<&u8>| {
        byte.is_some_and(|b| {
            b.is_ascii_alphanumeric()
                || matches!(b, b'/' | b'\'' | b'"' | b'\\' | b'.' | b'?' | b'*')
        })
    };
    let mut has_changed = false;
    for (at, &byte) in text.iter().enumerate() {
        let inside =
            is_word(at.checked_sub(1).and_then(|at| text.get(at))) && is_word(text.get(at + 1));
        if inside && matches!(byte, b'\'' | b'"' | b'\\' | b'^') {
            has_changed = true;
        } else {
            out.push(byte);
        }
    }
    has_changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_words() {
        for (text, want) in [
            ("; id", true),
            ("127.0.0.1;ls -la", true),
            ("a | cat /etc/passwd", true),
            ("x&&whoami", true),
            ("$(sleep 5)", true),
            ("`uname -a`", true),
            ("x\n/bin/ls", true),
            ("||ping -c 3 1.2.3.4", true),
            ("a;/usr/bin/id", true),
            ("& dir c:\\", true),
            ("mozilla/5.0 (x11; linux x86_64; rv:109.0)", false),
            ("text/html;q=0.9", false),
            ("tom & jerry", false),
            ("a; id=5", false),
            ("this | that", false),
            ("cats & dogs; find out more", false),
            ("a; who knows what", false),
        ] {
            assert_eq!(find(text.as_bytes()).is_some(), want, "{text}");
        }
    }

    #[test]
    fn a_quoted_word_is_read_as_a_shell_reads_it() {
        let mut out = Vec::new();
        assert!(squeeze(b"; w'h'o\\am\"i\"x", &mut out));
        assert_eq!(out, b"; whoamix");
        assert!(!squeeze(b"say 'hello' now", &mut out));
    }
}
