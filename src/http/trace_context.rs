//! W3C Trace Context: the fields `traceparent` and `tracestate`, which say what trace a request
//! belongs to.
//!
//! What does not follow the grammar is treated as if it had not come, as section 3.2.2.3 of the
//! recommendation asks; a `tracestate` counts only beside a `traceparent` that does.
#![forbid(unsafe_code)]

/// Bytes of a `traceparent` of version 00.
const PARENT_BYTES: usize = 55;
/// Members of a `tracestate`, at most.
const MEMBERS_MAX: usize = 32;
/// Bytes of a `tracestate` that is passed on, at most; the recommendation asks for no more.
const STATE_BYTES_MAX: usize = 512;
/// Bytes of a key or a value of a member, at most.
const WORD_BYTES_MAX: usize = 256;

/// The id of a trace; never all zeros.
pub type TraceId = [u8; 16];
/// The id of one step of a trace; never all zeros.
pub type SpanId = [u8; 8];

/// A step of a trace, and what it was told of the trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The step.
    pub span_id: SpanId,
    /// Whether it is recorded.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Reads the value of a `traceparent` field. None: it is not one.
    pub fn parse(value: &[u8]) -> Option<TraceContext> {
        let (fixed, more) = value.split_at_checked(PARENT_BYTES)?;
        let [version] = hex::<1>(fixed.get(..2)?)?;
        let is_cut = |at: usize| fixed.get(at) == Some(&b'-');
        // A later version may go on behind another dash; version 00 may not.
        let is_long = more.first().is_some_and(|byte| *byte != b'-' || version == 0);
        if version == 0xff || is_long || !is_cut(2) || !is_cut(35) || !is_cut(52) {
            return None;
        }
        let trace_id = hex::<16>(fixed.get(3..35)?)?;
        let span_id = hex::<8>(fixed.get(36..52)?)?;
        let [flags] = hex::<1>(fixed.get(53..55)?)?;
        let is_fit = trace_id != [0; 16] && span_id != [0; 8];
        is_fit.then_some(TraceContext { trace_id, span_id, is_sampled: flags & 1 == 1 })
    }

    /// Appends the value of a `traceparent` field, of version 00.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"00-");
        write_hex(&self.trace_id, out);
        out.push(b'-');
        write_hex(&self.span_id, out);
        out.extend_from_slice(if self.is_sampled { b"-01" } else { b"-00" });
    }
}

/// Puts the `tracestate` fields of a request together. None: there is none, or it is not fit to be
/// passed on.
pub fn state<'v>(values: impl Iterator<Item = &'v [u8]>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut keys: Vec<&[u8]> = Vec::new();
    for value in values {
        for member in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            // Empty members are allowed and mean nothing.
            if member.is_empty() {
                continue;
            }
            let at = member.iter().position(|byte| *byte == b'=')?;
            let (key, rest) = member.split_at_checked(at)?;
            let is_fit = is_key(key) && is_value(rest.get(1..)?) && !keys.contains(&key);
            if !is_fit || keys.len() == MEMBERS_MAX {
                return None;
            }
            keys.push(key);
            if !out.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(member);
        }
    }
    (!out.is_empty() && out.len() <= STATE_BYTES_MAX).then_some(out)
}

fn is_key(key: &[u8]) -> bool {
    let is_word = |part: &[u8]| {
        let is_inner = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
        part.first().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && part.iter().all(is_inner)
    };
    let mut parts = key.split(|byte| *byte == b'@');
    let fits = parts.next().is_some_and(is_word) && parts.next().is_none_or(is_word);
    fits && parts.next().is_none() && key.len() <= WORD_BYTES_MAX
}

fn is_value(value: &[u8]) -> bool {
    let is_inner = |b: &u8| matches!(b, 0x20..=0x7e) && !matches!(b, b',' | b'=');
    !value.is_empty() && value.len() <= WORD_BYTES_MAX && value.iter().all(is_inner)
}

/// Lower-case hexadecimal digits, two for each byte.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

/// Appends bytes as lower-case hexadecimal digits.
pub fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_written_is_what_is_read() {
        let context = TraceContext::parse(GOOD.as_bytes()).unwrap();
        assert!(context.is_sampled);
        let mut out = Vec::new();
        context.write(&mut out);
        assert_eq!(out, GOOD.as_bytes());
    }

    /// Wrong: a forged or broken field splits a trace, or joins two.
    #[test]
    fn only_the_grammar_is_taken() {
        let parse = |text: &str| TraceContext::parse(text.as_bytes());
        for (from, to, is_taken) in [
            ("-01", "-00", true),
            ("-01", "-ff", true),
            ("00-", "01-", true),
            ("-01", "-1", false),
            ("-01", "-0g", false),
            ("-01", "-01-", false),
            ("-01", "-01 ", false),
            ("-01", "_01", false),
            ("00-4", "ff-4", false),
            ("00-4", "0-4", false),
            ("00-4", "0A-4", false),
            ("4bf9", "4BF9", false),
            ("00f067aa0ba902b7", "0000000000000000", false),
            ("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000", false),
            ("4bf92f3577b34da6a3ce929d0e0e4736", "4bf92f3577b34da6a3ce929d0e0e473", false),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            assert_eq!(parse(&text).is_some(), is_taken, "{text}");
        }
        assert!(parse(&GOOD.replacen("00-", "cc-", 1)).is_some());
        assert!(parse(&format!("{}-what-comes", GOOD.replacen("00-", "cc-", 1))).is_some());
        assert!(parse(&format!("{}.what", GOOD.replacen("00-", "cc-", 1))).is_none());
        assert!(parse("").is_none());
        assert!(!parse(&GOOD.replace("-01", "-02")).unwrap().is_sampled);
    }

    #[test]
    fn a_state_is_passed_on_whole_or_not_at_all() {
        let state = |values: &[&str]| {
            let told = super::state(values.iter().map(|value| value.as_bytes()));
            told.map(|state| String::from_utf8(state).unwrap())
        };
        assert_eq!(state(&["a=1", "b=2"]).as_deref(), Some("a=1,b=2"));
        assert_eq!(state(&["a=1 ,\tt@v=x y,, 0z=!"]).as_deref(), Some("a=1,t@v=x y,0z=!"));
        for wrong in [
            "", ",", "a", "a=", "A=1", "=1", "a=1=2", "a=1,a=2", "a=\u{e9}", "@v=1", "t@=1",
            "a@b@c=1", "a b=1", "_a=1",
        ] {
            assert_eq!(state(&[wrong]), None, "{wrong}");
        }
        let many = |count: usize| {
            let members: Vec<String> = (0..count).map(|at| format!("k{at}=v")).collect();
            members.join(",")
        };
        assert!(state(&[&many(32)]).is_some());
        assert!(state(&[&many(33)]).is_none());
        assert!(state(&[&format!("a={}", "x".repeat(256))]).is_some());
        assert!(state(&[&format!("a={}", "x".repeat(257))]).is_none());
        let long = format!("a={},b={},c=1", "x".repeat(256), "x".repeat(256));
        assert!(state(&[&long]).is_none());
    }
}
