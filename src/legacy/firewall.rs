//! firewall.h: what its functions promise is in [`policy`], over the firewall that serves. Running
//! servers share its lists, what it remembers of clients and its counters.

mod names;
mod patterns;
mod policy;
mod saved;
mod window;

use super::instance::INSTANCE;
use super::memory::{allocate, copy_cut, give_list, path, text, unix_seconds};
use super::types::{AttackPattern, Config, FirewallStats, RateLimitConfig};
use super::whole_file;
use crate::boundary::guard;
use crate::firewall::{Cause, Moment, Shared};
use crate::sys::clock;
use std::ffi::{c_char, c_int, c_ulong};
use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

pub use policy::{Limits, Policy, Request};

/// FIREWALL_VERSION_STRING.
const VERSION: &str = "2.0.0";
/// Settings files larger than this are refused.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Runs `body` on the firewall; `failed` when there is none.
fn with<R>(failed: R, body: impl FnOnce(&mut Policy) -> R) -> R {
    match INSTANCE.firewall.lock().as_mut() {
        Some(firewall) => body(firewall),
        None => failed,
    }
}

/// The time of a call.
pub(super) fn now() -> Moment {
    Moment { now_ms: clock::monotonic_ms(), unix_s: unix_seconds() }
}

/// Runs `body`, which changes what servers share, on the firewall, and has them take it up. The lock
/// is held meanwhile, so that the last change is the last one taken up.
fn change<R>(failed: R, body: impl FnOnce(&mut Policy) -> R) -> R {
    with(failed, |firewall| {
        let result = body(firewall);
        share(firewall.shared());
        result
    })
}

fn share(shared: &Shared) {
    // A list of its own: a server may be stopped meanwhile.
    let sites: Vec<_> = INSTANCE.servers.lock().values().cloned().collect();
    sites.iter().for_each(|site| site.share(shared));
}

/// Has running servers take up what the firewall says.
pub(super) fn publish() {
    change((), |_| ());
}

/// 0 or −1.
fn status(fine: bool) -> c_int {
    if fine { 0 } else { -1 }
}

/// The keys of a configuration, copied. A count out of range reads as far as the array goes.
///
/// # Safety
/// `config` is NULL or a Config whose used keys are NULL or NUL-terminated.
pub(super) unsafe fn config_keys(config: *const Config) -> Vec<Vec<u8>> {
    // SAFETY: NULL or valid by the caller's promise.
    let Some(config) = (unsafe { config.as_ref() }) else { return Vec::new() };
    let count = usize::try_from(config.api_key_count).unwrap_or(0);
    let keys = config.api_keys.iter().take(count);
    // SAFETY: each is NULL or NUL-terminated by the caller's promise.
    keys.filter_map(|&key| unsafe { text(key) }).map(<[u8]>::to_vec).collect()
}

/// Starts the firewall unless it runs.
pub(super) fn start(keys: Vec<Vec<u8>>) {
    let mut place = INSTANCE.firewall.lock();
    if place.is_none() {
        // Relaxed: a figure that stands alone.
        INSTANCE.checked.store(0, Relaxed);
        *place = Some(Policy::new(keys, unix_seconds()));
        drop(place);
        publish();
    }
}

/// Ends the firewall. A server that goes on has no lists then and remembers nothing.
pub(super) fn stop() {
    let mut place = INSTANCE.firewall.lock();
    if place.take().is_some() {
        share(&Shared::default());
    }
}

/// # Safety
/// `config` is NULL or points to a filled Config.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_init(config: *const Config) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        start(unsafe { config_keys(config) });
        0
    })
}

/// # Safety
/// Both are NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_check_request(
    ip: *const c_char,
    api_key: *const c_char,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(-1, || unsafe { check(ip, api_key, std::ptr::null(), std::ptr::null()) })
}

/// # Safety
/// All are NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_check_request_enhanced(
    ip: *const c_char,
    api_key: *const c_char,
    request_data: *const c_char,
    user_agent: *const c_char,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(-1, || unsafe { check(ip, api_key, request_data, user_agent) })
}

/// # Safety
/// All are NULL or NUL-terminated.
unsafe fn check(
    ip: *const c_char,
    api_key: *const c_char,
    request_data: *const c_char,
    user_agent: *const c_char,
) -> c_int {
    // SAFETY: as promised by the caller.
    let (address, key, data, agent) =
        unsafe { (text(ip), text(api_key), text(request_data), text(user_agent)) };
    let Some(address) = address else { return -1 };
    let request = Request { address, key, data, agent };
    with(-1, |firewall| {
        INSTANCE.checked.fetch_add(1, Relaxed);
        status(policy::is_client(address) && firewall.check(&request, now()))
    })
}

/// Runs `body` with the firewall and a client; −1 without either.
///
/// # Safety
/// `ip` is NULL or NUL-terminated.
unsafe fn with_client(ip: *const c_char, body: impl FnOnce(&mut Policy, &[u8]) -> c_int) -> c_int {
    // SAFETY: as promised by the caller.
    guard(-1, || match unsafe { client(ip) } {
        Some(client) => with(-1, |firewall| body(firewall, client)),
        None => -1,
    })
}

/// The same for a `body` that changes a list.
///
/// # Safety
/// `ip` is NULL or NUL-terminated.
unsafe fn list_client(ip: *const c_char, body: impl FnOnce(&mut Policy, &[u8]) -> c_int) -> c_int {
    // SAFETY: as promised by the caller.
    guard(-1, || match unsafe { client(ip) } {
        Some(client) => change(-1, |firewall| body(firewall, client)),
        None => -1,
    })
}

/// # Safety
/// `ip` is NULL or NUL-terminated; the result lives as long as it.
unsafe fn client<'a>(ip: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: as promised by the caller.
    unsafe { text(ip) }.filter(|text| policy::is_client(text))
}

/// # Safety
/// `ip` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_block_ip(ip: *const c_char) -> c_int {
    let block = |firewall: &mut Policy, address: &[u8]| {
        firewall.block(address, now());
        0
    };
    // SAFETY: as promised by the caller.
    unsafe { with_client(ip, block) }
}

/// # Safety
/// `ip` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_unblock_ip(ip: *const c_char) -> c_int {
    let unblock = |firewall: &mut Policy, address: &[u8]| {
        firewall.unblock(address, now());
        0
    };
    // SAFETY: as promised by the caller.
    unsafe { with_client(ip, unblock) }
}

/// Gives a list that `body` draws from the firewall.
///
/// # Safety
/// The outputs are NULL or writable.
unsafe fn list(
    ips: *mut *mut *mut c_char,
    count: *mut c_int,
    body: impl FnOnce(&mut Policy) -> Vec<Vec<u8>>,
) -> c_int {
    guard(-1, || {
        let Some(items) = with(None, |firewall| Some(body(firewall))) else { return -1 };
        // SAFETY: as promised by the caller.
        unsafe { give_list(&items, ips, count) }
    })
}

/// # Safety
/// The outputs are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_get_blocked_ips(
    ips: *mut *mut *mut c_char,
    count: *mut c_int,
) -> c_int {
    // SAFETY: as promised by the caller.
    unsafe { list(ips, count, |firewall| firewall.blocked(now())) }
}

/// # Safety
/// The outputs are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_get_suspicious_ips(
    ips: *mut *mut *mut c_char,
    count: *mut c_int,
    threshold: c_int,
) -> c_int {
    let Ok(threshold) = u32::try_from(threshold) else { return -1 };
    // SAFETY: as promised by the caller.
    unsafe { list(ips, count, |firewall| firewall.suspicious(threshold, now())) }
}

/// # Safety
/// The outputs are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_get_whitelisted_ips(
    ips: *mut *mut *mut c_char,
    count: *mut c_int,
) -> c_int {
    let allowed = |firewall: &mut Policy| -> Vec<Vec<u8>> {
        firewall.allowed(unix_seconds()).into_iter().map(|(address, _)| address).collect()
    };
    // SAFETY: as promised by the caller.
    unsafe { list(ips, count, allowed) }
}

/// # Safety
/// The outputs are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_get_blacklisted_ips(
    ips: *mut *mut *mut c_char,
    count: *mut c_int,
) -> c_int {
    let denied = |firewall: &mut Policy| -> Vec<Vec<u8>> {
        firewall.denied().into_iter().map(|(address, ..)| address).collect()
    };
    // SAFETY: as promised by the caller.
    unsafe { list(ips, count, denied) }
}

/// # Safety
/// `ip` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_add_to_whitelist(
    ip: *const c_char,
    permanent: c_int,
    duration: libc::time_t,
) -> c_int {
    let add = |firewall: &mut Policy, address: &[u8]| {
        let now = unix_seconds();
        let until = (permanent == 0).then(|| now.saturating_add(duration));
        status(firewall.allow(address, until, now))
    };
    // SAFETY: as promised by the caller.
    unsafe { list_client(ip, add) }
}

/// # Safety
/// `ip` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_remove_from_whitelist(ip: *const c_char) -> c_int {
    // SAFETY: as promised by the caller.
    unsafe {
        list_client(ip, |firewall, address| status(firewall.disallow(address, unix_seconds())))
    }
}

/// # Safety
/// Both are NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_add_to_blacklist(
    ip: *const c_char,
    reason: c_int,
    description: *const c_char,
) -> c_int {
    // SAFETY: as promised by the caller.
    let description = unsafe { text(description) }.unwrap_or_default();
    let add = |firewall: &mut Policy, address: &[u8]| {
        status(firewall.deny(address, reason, description, unix_seconds()))
    };
    // SAFETY: as promised by the caller.
    unsafe { list_client(ip, add) }
}

/// # Safety
/// `ip` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_remove_from_blacklist(ip: *const c_char) -> c_int {
    // SAFETY: as promised by the caller.
    unsafe { list_client(ip, |firewall, address| status(firewall.undeny(address))) }
}

/// # Safety
/// `ip` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_is_whitelisted(ip: *const c_char) -> c_int {
    let listed = |firewall: &mut Policy, address: &[u8]| {
        c_int::from(firewall.is_allowed(address, unix_seconds()))
    };
    // SAFETY: as promised by the caller.
    unsafe { with_client(ip, listed) }.max(0)
}

/// # Safety
/// `ip` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_is_blacklisted(ip: *const c_char) -> c_int {
    let listed = |firewall: &mut Policy, address: &[u8]| {
        c_int::from(firewall.is_denied(address, unix_seconds()))
    };
    // SAFETY: as promised by the caller.
    unsafe { with_client(ip, listed) }.max(0)
}

/// # Safety
/// `pattern` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_add_attack_pattern(
    pattern: *const c_char,
    severity: c_int,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let Some(pattern) = (unsafe { text(pattern) }) else { return -1 };
        with(-1, |firewall| status(firewall.patterns_mut().add(pattern, severity)))
    })
}

/// # Safety
/// `pattern` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_remove_attack_pattern(pattern: *const c_char) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let Some(pattern) = (unsafe { text(pattern) }) else { return -1 };
        with(-1, |firewall| status(firewall.patterns_mut().remove(pattern)))
    })
}

/// # Safety
/// The outputs are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_get_attack_patterns(
    patterns: *mut *mut AttackPattern,
    count: *mut c_int,
) -> c_int {
    guard(-1, || {
        if patterns.is_null() || count.is_null() {
            return -1;
        }
        with(-1, |firewall| {
            let known = firewall.patterns().all();
            let Ok(number) = c_int::try_from(known.len()) else { return -1 };
            let array = allocate(known.len() * size_of::<AttackPattern>()).cast::<AttackPattern>();
            if array.is_null() {
                return -1;
            }
            for (index, pattern) in known.iter().enumerate() {
                let mut copy = AttackPattern {
                    pattern: [0; 256],
                    severity: pattern.severity,
                    last_detected: pattern.last_seen,
                };
                // SAFETY: the field has 256 bytes; the array has one place per pattern.
                unsafe {
                    copy_cut(&pattern.text, copy.pattern.as_mut_ptr(), copy.pattern.len());
                    array.add(index).write(copy);
                }
            }
            // SAFETY: checked not to be NULL, so writable.
            unsafe {
                patterns.write(array);
                count.write(number);
            }
            0
        })
    })
}

/// # Safety
/// `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_get_stats(stats: *mut FirewallStats) -> c_int {
    guard(-1, || {
        if stats.is_null() {
            return -1;
        }
        let Some(filled) = with(None, |firewall| Some(stats_of(firewall))) else { return -1 };
        // SAFETY: not NULL, so writable.
        unsafe { stats.write(filled) };
        0
    })
}

fn stats_of(firewall: &mut Policy) -> FirewallStats {
    let counts = firewall.counts();
    let entries = |count: usize| c_int::try_from(count).unwrap_or(c_int::MAX);
    let allowed = firewall.allowed(unix_seconds()).len();
    let requests = INSTANCE.checked.load(Relaxed) + counts.unheard;
    FirewallStats {
        total_requests: requests as c_ulong,
        blocked_requests: counts.blocked as c_ulong,
        suspicious_activities: counts.suspicious as c_ulong,
        brute_force_attempts: counts.brute_force as c_ulong,
        invalid_api_keys: counts.invalid_keys as c_ulong,
        // One suspicious activity is one request in which something was found.
        attack_pattern_hits: counts.suspicious as c_ulong,
        active_entries: entries(firewall.clients()),
        whitelisted_ips: entries(allowed),
        blacklisted_ips: entries(firewall.shared().deny.len()),
        start_time: firewall.started(),
    }
}

/// # Safety
/// `config` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_configure_rate_limits(config: *const RateLimitConfig) -> c_int {
    guard(-1, || {
        // SAFETY: NULL or valid by the caller's promise.
        let Some(config) = (unsafe { config.as_ref() }) else { return -1 };
        let limits = Limits {
            requests_per_minute: config.max_requests_per_minute,
            block_minutes: config.block_duration_minutes,
            suspicious_threshold: config.suspicious_threshold,
            brute_force_threshold: config.brute_force_threshold,
            brute_force_window_s: config.brute_force_window_seconds,
        };
        with(-1, |firewall| {
            firewall.set_limits(limits, now());
            0
        })
    })
}

/// # Safety
/// `config` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_get_rate_limit_config(config: *mut RateLimitConfig) -> c_int {
    guard(-1, || {
        if config.is_null() {
            return -1;
        }
        let Some(limits) = with(None, |firewall| Some(firewall.limits())) else { return -1 };
        // SAFETY: not NULL, so writable.
        unsafe {
            config.write(RateLimitConfig {
                max_requests_per_minute: limits.requests_per_minute,
                block_duration_minutes: limits.block_minutes,
                suspicious_threshold: limits.suspicious_threshold,
                brute_force_threshold: limits.brute_force_threshold,
                brute_force_window_seconds: limits.brute_force_window_s,
            });
        }
        0
    })
}

/// # Safety
/// `ip` is NULL or NUL-terminated; `reason` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_get_block_reason(ip: *const c_char, reason: *mut c_int) -> c_int {
    if reason.is_null() {
        return -1;
    }
    let tell = |firewall: &mut Policy, address: &[u8]| {
        let number = match firewall.block_cause(address, now()) {
            Some(Cause::RateLimit | Cause::Manual) => 0,
            Some(Cause::BruteForce) => 1,
            Some(Cause::Attacks) => 2,
            Some(Cause::Scanner | Cause::Suspicion) => 3,
            None => return -1,
        };
        // SAFETY: checked not to be NULL above, so writable.
        unsafe { reason.write(number) };
        0
    };
    // SAFETY: as promised by the caller.
    unsafe { with_client(ip, tell) }
}

/// # Safety
/// See firewall.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_clear_all() -> c_int {
    guard(-1, || {
        change(-1, |firewall| {
            INSTANCE.checked.store(0, Relaxed);
            firewall.clear();
            0
        })
    })
}

/// # Safety
/// `filename` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_save_config(filename: *const c_char) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let Some(file) = (unsafe { path(filename) }) else { return -1 };
        let Some(text) = with(None, |firewall| Some(firewall.to_text(unix_seconds()))) else {
            return -1;
        };
        status(whole_file::replace(file, &text).is_ok())
    })
}

/// A settings file, read before the firewall is locked.
///
/// # Safety
/// `filename` is NULL or NUL-terminated.
unsafe fn settings(filename: *const c_char) -> Option<Vec<u8>> {
    use std::io::Read;
    // SAFETY: as promised by the caller.
    let file = std::fs::File::open(unsafe { path(filename) }?).ok()?;
    let mut content = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).ok()?;
    (read as u64 <= FILE_BYTES_MAX).then_some(content)
}

/// # Safety
/// `filename` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_load_config(filename: *const c_char) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let Some(text) = (unsafe { settings(filename) }) else { return -1 };
        change(-1, |firewall| {
            firewall.add_text(&text, now());
            0
        })
    })
}

/// # Safety
/// `filename` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_import_attack_patterns(filename: *const c_char) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let Some(text) = (unsafe { settings(filename) }) else { return -1 };
        with(-1, |firewall| {
            c_int::try_from(firewall.add_patterns_text(&text)).unwrap_or(c_int::MAX)
        })
    })
}

/// # Safety
/// `filename` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_export_stats(filename: *const c_char, format: c_int) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let Some(file) = (unsafe { path(filename) }) else { return -1 };
        let Some(stats) = with(None, |firewall| Some(stats_of(firewall))) else { return -1 };
        let now = unix_seconds();
        let text = if format == 0 { stats_json(&stats, now) } else { stats_csv(&stats, now) };
        status(whole_file::replace(file, text.as_bytes()).is_ok())
    })
}

fn stats_json(stats: &FirewallStats, now: i64) -> String {
    format!(
        "{{\n  \"version\": \"{VERSION}\",\n  \"timestamp\": {now},\n  \"uptime\": {},\n  \"statistics\": {{\n    \
         \"total_requests\": {},\n    \"blocked_requests\": {},\n    \"suspicious_activities\": {},\n    \
         \"brute_force_attempts\": {},\n    \"invalid_api_keys\": {},\n    \"attack_pattern_hits\": {}\n  }},\n  \
         \"counts\": {{\n    \"active_entries\": {},\n    \"whitelisted_ips\": {},\n    \
         \"blacklisted_ips\": {}\n  }}\n}}\n",
        now.saturating_sub(stats.start_time),
        stats.total_requests,
        stats.blocked_requests,
        stats.suspicious_activities,
        stats.brute_force_attempts,
        stats.invalid_api_keys,
        stats.attack_pattern_hits,
        stats.active_entries,
        stats.whitelisted_ips,
        stats.blacklisted_ips,
    )
}

fn stats_csv(stats: &FirewallStats, now: i64) -> String {
    let mut text = format!("Metric,Value\nVersion,{VERSION}\nTimestamp,{now}\n");
    for (name, value) in [
        ("Uptime", now.saturating_sub(stats.start_time).unsigned_abs()),
        ("Total Requests", stats.total_requests),
        ("Blocked Requests", stats.blocked_requests),
        ("Suspicious Activities", stats.suspicious_activities),
        ("Brute Force Attempts", stats.brute_force_attempts),
        ("Invalid API Keys", stats.invalid_api_keys),
        ("Attack Pattern Hits", stats.attack_pattern_hits),
        ("Active Entries", stats.active_entries.unsigned_abs().into()),
        ("Whitelisted IPs", stats.whitelisted_ips.unsigned_abs().into()),
        ("Blacklisted IPs", stats.blacklisted_ips.unsigned_abs().into()),
    ] {
        let _ = writeln!(text, "{name},{value}");
    }
    text
}

/// # Safety
/// See firewall.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn firewall_cleanup() {
    guard((), stop);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_statistics_are_json_or_csv() {
        let mut firewall = Policy::new(Vec::new(), 100);
        let request = Request { address: b"a", agent: Some(b"nikto"), ..Request::default() };
        firewall.check(&request, Moment { now_ms: 1_000, unix_s: 100 });
        let stats = stats_of(&mut firewall);
        let json: serde_json::Value = serde_json::from_str(&stats_json(&stats, 160)).unwrap();
        assert_eq!(json["uptime"], 60);
        assert_eq!(json["statistics"]["attack_pattern_hits"], 1);
        assert_eq!(json["counts"]["active_entries"], 1);
        let csv = stats_csv(&stats, 160);
        assert_eq!(csv.lines().next(), Some("Metric,Value"));
        assert_eq!(csv.lines().count(), 13);
        assert!(csv.contains("\nBlocked Requests,1\n"));
    }
}
