//! The log of the old interface. Lines look like `[2026-01-31 12:00:00] [WARNING ] text`; the time is
//! local, each line is written at once.

use crate::boundary::guard;
use crate::legacy::instance::INSTANCE;
use crate::legacy::memory::{path, text, unix_seconds};
use std::ffi::{c_char, c_int, c_void};
use std::fs::File;
use std::io::Write;

/// A line is cut to this many bytes of text.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Levels by their number in log_level_t.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// LOG_LEVEL_DEBUG.
    Debug = 0,
    /// LOG_LEVEL_INFO.
    Info = 1,
    /// LOG_LEVEL_WARNING.
    Warning = 2,
    /// LOG_LEVEL_ERROR.
    Error = 3,
    /// LOG_LEVEL_CRITICAL.
    Critical = 4,
}

impl Level {
    /// A number from C; what is out of range is the nearest level.
    fn from_number(number: c_int) -> Level {
        match number {
            ..=0 => Level::Debug,
            1 => Level::Info,
            2 => Level::Warning,
            3 => Level::Error,
            _ => Level::Critical,
        }
    }

    fn from_word(word: &[u8]) -> Level {
        match word {
            b"DEBUG" => Level::Debug,
            b"WARNING" => Level::Warning,
            b"ERROR" => Level::Error,
            b"CRITICAL" => Level::Critical,
            _ => Level::Info,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
            Level::Critical => "CRITICAL",
        }
    }
}

enum Target {
    Stdout,
    Stderr,
    File(File),
}

/// Where lines go and which.
pub struct Log {
    target: Target,
    level: Level,
}

impl Log {
    /// Standard output, from INFO up.
    pub const fn new() -> Log {
        Log { target: Target::Stdout, level: Level::Info }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log::new()
    }
}

/// Writes a line if its level is wanted.
pub fn write(level: Level, message: &[u8]) {
    let mut log = INSTANCE.log.lock();
    if level < log.level {
        return;
    }
    let message = &message[..message.len().min(LINE_BYTES_MAX)];
    let mut line = format!("[{}] [{:<8}] ", local_time(unix_seconds()), level.word()).into_bytes();
    line.extend_from_slice(message);
    line.push(b'\n');
    // A log that cannot be written must not stop the program: there is nobody left to tell.
    match &mut log.target {
        Target::Stdout => print(&line),
        Target::Stderr => drop(std::io::stderr().write_all(&line)),
        Target::File(file) => drop(file.write_all(&line)),
    }
}

/// Writes to C's standard output, so that it stays in order with the host's own printf.
pub fn print(content: &[u8]) {
    // cbindgen:ignore
    unsafe extern "C" {
        static mut stdout: *mut libc::FILE;
    }
    // SAFETY: libc's stdout is a valid stream from before main on; stdio locks it by itself.
    unsafe {
        let stream = stdout;
        if !stream.is_null() {
            libc::fwrite(content.as_ptr().cast(), 1, content.len(), stream);
            libc::fflush(stream);
        }
    }
}

/// `YYYY-MM-DD HH:MM:SS` in local time.
pub fn local_time(unix_s: i64) -> String {
    // SAFETY: a tm of zeros is valid.
    let mut fields: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values; localtime_r keeps no state of ours.
    if unsafe { libc::localtime_r(&unix_s, &mut fields) }.is_null() {
        return String::from("0000-00-00 00:00:00");
    }
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        i64::from(fields.tm_year) + 1900,
        fields.tm_mon + 1,
        fields.tm_mday,
        fields.tm_hour,
        fields.tm_min,
        fields.tm_sec
    )
}

/// # Safety
/// `log_file` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn init_logging(log_file: *const c_char, level: c_int) {
    guard((), || {
        // SAFETY: as promised by the caller.
        let target = match unsafe { path(log_file) } {
            None => Target::Stdout,
            Some(name) => match File::options().append(true).create(true).open(name) {
                Ok(file) => Target::File(file),
                Err(_) => Target::Stderr,
            },
        };
        *INSTANCE.log.lock() = Log { target, level: Level::from_number(level) };
    });
}

/// # Safety
/// Both are NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn log_message(level: *const c_char, message: *const c_char) {
    guard((), || {
        // SAFETY: as promised by the caller.
        let (level, message) = unsafe { (text(level), text(message)) };
        if let Some(message) = message {
            write(Level::from_word(level.unwrap_or_default()), message);
        }
    });
}

/// A C `va_list` of the System V ABI for x86-64 (its section 3.5.7).
#[repr(C)]
#[derive(Clone, Copy)]
struct VaList {
    gp_offset: u32,
    fp_offset: u32,
    overflow_arg_area: *mut c_void,
    reg_save_area: *mut c_void,
}

/// What [`log_message_ex`] does with its arguments in a `va_list`.
///
/// # Safety
/// `format` is NULL or NUL-terminated and agrees with the arguments; `arguments` is a fresh va_list.
unsafe extern "C" fn log_formatted(level: c_int, format: *const c_char, arguments: *const VaList) {
    // cbindgen:ignore
    unsafe extern "C" {
        fn vsnprintf(
            output: *mut c_char,
            size: usize,
            format: *const c_char,
            arguments: *mut VaList,
        ) -> c_int;
    }
    guard((), || {
        let level = Level::from_number(level);
        if format.is_null() || level < INSTANCE.log.lock().level {
            return;
        }
        // SAFETY: built by log_message_ex. vsnprintf uses its va_list up, so each pass has a copy.
        let fresh = unsafe { *arguments };
        let mut line = vec![0_u8; 512];
        for _ in 0..2 {
            let mut pass = fresh;
            // SAFETY: writes at most the size of the buffer; format and arguments agree by the
            // caller's promise.
            let wanted =
                unsafe { vsnprintf(line.as_mut_ptr().cast(), line.len(), format, &mut pass) };
            let Ok(wanted) = usize::try_from(wanted) else { return };
            if wanted < line.len() {
                line.truncate(wanted);
                break;
            }
            let size = wanted.saturating_add(1).min(LINE_BYTES_MAX + 1);
            if line.len() == size {
                line.truncate(size - 1);
                break;
            }
            line.resize(size, 0);
        }
        if let Some(end) = line.iter().position(|&byte| byte == 0) {
            line.truncate(end);
        }
        write(level, &line);
    });
}

/// `void log_message_ex(log_level_t level, const char *format, ...)`.
///
/// Stable Rust cannot define a function with variable arguments, and one in C would not leave the
/// shared library. So this one is only an entry: it stores the argument registers as a C compiler
/// would, makes a `va_list` of them and calls [`log_formatted`]. x86-64 only, like every host of the
/// original, which was written in part in x86-64 assembly.
///
/// # Safety
/// As for printf: `format` is NUL-terminated and agrees with the arguments.
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn log_message_ex() {
    // Frame below rbp: 176 bytes of saved registers at rsp, the va_list of 24 bytes at rsp + 176, and
    // 8 bytes that keep rsp on 16. al tells whether vector registers hold arguments.
    std::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "sub rsp, 208",
        "mov [rsp + 16], rdx",
        "mov [rsp + 24], rcx",
        "mov [rsp + 32], r8",
        "mov [rsp + 40], r9",
        "test al, al",
        "je 2f",
        "movaps [rsp + 48], xmm0",
        "movaps [rsp + 64], xmm1",
        "movaps [rsp + 80], xmm2",
        "movaps [rsp + 96], xmm3",
        "movaps [rsp + 112], xmm4",
        "movaps [rsp + 128], xmm5",
        "movaps [rsp + 144], xmm6",
        "movaps [rsp + 160], xmm7",
        "2:",
        // Two of the six general registers are named parameters: 2 * 8.
        "mov dword ptr [rsp + 176], 16",
        "mov dword ptr [rsp + 180], 48",
        "lea rax, [rbp + 16]",
        "mov [rsp + 184], rax",
        "mov [rsp + 192], rsp",
        "lea rdx, [rsp + 176]",
        "call {log_formatted}",
        "leave",
        "ret",
        log_formatted = sym log_formatted,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_come_from_numbers_and_words() {
        for (number, expected) in [
            (-5, Level::Debug),
            (0, Level::Debug),
            (1, Level::Info),
            (4, Level::Critical),
            (99, Level::Critical),
        ] {
            assert_eq!(Level::from_number(number), expected);
        }
        for (word, expected) in [
            ("DEBUG", Level::Debug),
            ("PLUGIN", Level::Info),
            ("error", Level::Info),
            ("ERROR", Level::Error),
        ] {
            assert_eq!(Level::from_word(word.as_bytes()), expected);
        }
    }

    #[test]
    fn local_times_have_one_shape() {
        let text = local_time(0);
        assert_eq!(text.len(), 19, "{text}");
        assert!(text.starts_with("1970-01-01") || text.starts_with("1969-12-31"));
    }
}
