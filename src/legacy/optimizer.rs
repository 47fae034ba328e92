//! optimizer.h over [`crate::optimizer`]; here the process and its servers are measured. What is done about
//! load is done by the servers' own optimizer: its limits and decisions are in the report.

use super::cache::resize_to_percent;
use super::instance::INSTANCE;
use super::memory::{give, monotonic_ns, unix_seconds};
use super::types::{Config, PerformanceData, Server};
use super::utils::logging::{Level, print, write};
use crate::boundary::guard;
use crate::optimizer::{Optimizer, Reading, Sample, TREND_SAMPLES};
use std::ffi::{c_char, c_double, c_int};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

/// Runs `body` on the optimizer; −1 when there is none.
fn with(body: impl FnOnce(&mut Optimizer) -> c_int) -> c_int {
    match INSTANCE.optimizer.lock().as_mut() {
        Some(optimizer) => body(optimizer),
        None => -1,
    }
}

/// What the process and its servers say now: one of them, or with NULL all.
///
/// # Safety
/// `server` is NULL or points to a server between server_init and server_cleanup.
unsafe fn reading(server: *mut Server) -> Reading {
    let mut reading = Reading {
        at_ms: monotonic_ns() / 1_000_000,
        unix_s: unix_seconds(),
        cpu_us: cpu_us(),
        resident_bytes: resident_bytes().unwrap_or(0),
        responses: INSTANCE.answers.load(Relaxed),
        failures: INSTANCE.failures.load(Relaxed),
        ..Reading::default()
    };
    let mut sites = Vec::new();
    let (mut sum_ms, mut answers) = (0.0, 0.0);
    {
        // A server is known as long as its struct lives, and forgotten under this lock.
        let known = INSTANCE.servers.lock();
        let mut add = |server: *mut Server| {
            // SAFETY: a live server; its counters are only ever changed atomically.
            let (mean_ms, weight) = unsafe { add_counters(&mut reading, server) };
            sum_ms += mean_ms * weight;
            answers += weight;
            sites.extend(known.get(&(server as usize)).cloned());
        };
        match server.is_null() {
            true => known.values().for_each(|site| add(site.server())),
            false => add(server),
        }
    }
    if answers > 0.0 {
        reading.response_ms = sum_ms / answers;
    }
    let engines: Vec<_> = sites.iter().filter_map(|site| site.engine()).collect();
    reading.pool_percent = engines.iter().map(|engine| engine.busy_percent()).max().unwrap_or(0);
    reading
}

/// Adds what a host's struct says; returns its mean time to answer, and what that weighs.
///
/// # Safety
/// `server` is alive.
unsafe fn add_counters(reading: &mut Reading, server: *mut Server) -> (f64, f64) {
    // SAFETY: as promised by the caller.
    unsafe {
        let stats = &raw mut (*server).stats;
        let counter = |place: *mut u64| AtomicU64::from_ptr(place).load(Relaxed);
        let answers = counter(&raw mut (*stats).total_responses);
        let mean_ms = f64::from_bits(counter((&raw mut (*stats).avg_response_time).cast()));
        reading.requests += counter(&raw mut (*stats).total_requests);
        let sent = counter(&raw mut (*stats).bytes_sent);
        let received = counter(&raw mut (*stats).bytes_received);
        reading.network_bytes = reading.network_bytes.wrapping_add(sent).wrapping_add(received);
        let connections = AtomicI32::from_ptr(&raw mut (*server).active_connections).load(Relaxed);
        reading.connections += connections.max(0).unsigned_abs();
        (mean_ms, answers.max(1) as f64)
    }
}

/// Processor time of all threads so far.
fn cpu_us() -> u64 {
    // SAFETY: a rusage of zeros is valid and is filled by the call.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        let us = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
        us(usage.ru_utime) + us(usage.ru_stime)
    }
}

fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    // SAFETY: a constant of the system.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    Some(pages * page)
}

fn to_c(sample: &Sample) -> PerformanceData {
    PerformanceData {
        timestamp: sample.unix_s,
        cpu_usage: sample.cpu_percent,
        memory_usage: sample.memory_mb,
        requests_per_second: sample.requests_per_second.round() as u64,
        avg_response_time: sample.response_ms,
        active_connections: c_int::try_from(sample.connections).unwrap_or(c_int::MAX),
        thread_pool_utilization: c_int::try_from(sample.pool_percent).unwrap_or(100),
        network_usage: sample.network_kb_s,
        error_rate: sample.error_percent,
    }
}

fn line(sample: &Sample) -> String {
    format!(
        "cpu {:.1} %, memory {:.1} MB, {:.1} requests/s, {:.2} ms, {} connections, {:.1} KB/s, {:.1} % errors",
        sample.cpu_percent,
        sample.memory_mb,
        sample.requests_per_second,
        sample.response_ms,
        sample.connections,
        sample.network_kb_s,
        sample.error_percent
    )
}

/// Starts the optimizer anew.
pub(super) fn start() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    *INSTANCE.optimizer.lock() = Some(Optimizer::new(u32::try_from(cores).unwrap_or(1)));
}

/// # Safety
/// `config` is NULL or readable; nothing of it is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optimizer_init(config: *const Config) -> c_int {
    // Nothing in a Config concerns the optimizer but whether the host calls it at all.
    let _ = config;
    guard(-1, || {
        start();
        0
    })
}

/// # Safety
/// `server` is NULL or points to a server between server_init and server_cleanup.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optimizer_run(server: *mut Server) -> c_int {
    guard(-1, || {
        let is_due = |optimizer: &Optimizer| {
            optimizer.choices.automatic && optimizer.due(monotonic_ns() / 1_000_000)
        };
        let status = with(|optimizer| if is_due(optimizer) { 1 } else { 0 });
        if status != 1 {
            return status;
        }
        // SAFETY: as promised by the caller. Measured while no lock is held.
        let reading = unsafe { reading(server) };
        let mut recorded = None;
        let status = with(|optimizer| {
            // Somebody else may have been faster.
            recorded = is_due(optimizer).then(|| optimizer.record(reading));
            0
        });
        if let Some((sample, advice)) = recorded {
            for advice in advice {
                write(Level::Info, format!("optimizer: {advice}").as_bytes());
            }
            tell(&sample);
        }
        status
    })
}

/// The latest sample, or what a fresh reading says. None without an optimizer.
fn current() -> Option<Sample> {
    let latest = INSTANCE.optimizer.lock().as_ref()?.latest();
    latest.or_else(|| {
        // SAFETY: no server of the host's is named.
        let fresh = unsafe { reading(std::ptr::null_mut()) };
        INSTANCE.optimizer.lock().as_ref().map(|optimizer| optimizer.preview(&fresh))
    })
}

/// Prints and logs what the host chose to see of a sample.
fn tell(sample: &Sample) {
    if INSTANCE.optimizer_display.live.load(Relaxed) != 0 {
        print(format!("{}\n", line(sample)).as_bytes());
    }
    let every = INSTANCE.optimizer_display.trend_every.load(Relaxed);
    if every > 0 && INSTANCE.optimizer_display.samples.fetch_add(1, Relaxed) % every == 0 {
        let least = f64::from_bits(INSTANCE.optimizer_display.trend_least.load(Relaxed));
        let trend = INSTANCE
            .optimizer
            .lock()
            .as_ref()
            .and_then(|optimizer| optimizer.trend_ms(TREND_SAMPLES));
        if let Some(trend) = trend.filter(|trend| trend.abs() >= least) {
            write(
                Level::Info,
                format!("optimizer: response time changes by {trend:+.3} ms a sample").as_bytes(),
            );
        }
    }
}

/// # Safety
/// `data` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optimizer_get_current_data(data: *mut PerformanceData) -> c_int {
    guard(-1, || {
        if data.is_null() {
            return -1;
        }
        let Some(sample) = current() else { return -1 };
        // SAFETY: not NULL, so writable.
        unsafe { data.write(to_c(&sample)) };
        0
    })
}

/// # Safety
/// `data` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optimizer_get_average_data(data: *mut PerformanceData) -> c_int {
    guard(-1, || {
        if data.is_null() {
            return -1;
        }
        with(|optimizer| match optimizer.average() {
            Some(mean) => {
                // SAFETY: not NULL, so writable.
                unsafe { data.write(to_c(&mean)) };
                0
            }
            None => -1,
        })
    })
}

/// A threshold is a number from 0 up.
fn sensible(values: &[f64]) -> bool {
    values.iter().all(|value| value.is_finite() && *value >= 0.0)
}

/// # Safety
/// See optimizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optimizer_set_thresholds(
    cpu_threshold: c_double,
    memory_threshold: c_double,
    response_time_threshold: c_double,
) -> c_int {
    guard(-1, || {
        if !sensible(&[cpu_threshold, memory_threshold, response_time_threshold]) {
            return -1;
        }
        with(|optimizer| {
            optimizer.thresholds.cpu_percent = cpu_threshold;
            optimizer.thresholds.memory_mb = memory_threshold;
            optimizer.thresholds.response_ms = response_time_threshold;
            0
        })
    })
}

/// # Safety
/// See optimizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optimizer_set_advanced_thresholds(
    cpu_threshold: c_double,
    memory_threshold: c_double,
    response_time_threshold: c_double,
    network_threshold: c_double,
    error_threshold: c_double,
) -> c_int {
    guard(-1, || {
        let all = [
            cpu_threshold,
            memory_threshold,
            response_time_threshold,
            network_threshold,
            error_threshold,
        ];
        if !sensible(&all) {
            return -1;
        }
        with(|optimizer| {
            optimizer.thresholds.cpu_percent = cpu_threshold;
            optimizer.thresholds.memory_mb = memory_threshold;
            optimizer.thresholds.response_ms = response_time_threshold;
            optimizer.thresholds.network_kb_s = network_threshold;
            optimizer.thresholds.error_percent = error_threshold;
            0
        })
    })
}

/// # Safety
/// See optimizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optimizer_set_auto_optimization(enabled: c_int) -> c_int {
    guard(-1, || {
        with(|optimizer| {
            optimizer.choices.automatic = enabled != 0;
            0
        })
    })
}

/// # Safety
/// See optimizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optimizer_set_prediction(enabled: c_int) -> c_int {
    guard(-1, || {
        with(|optimizer| {
            optimizer.choices.trend = enabled != 0;
            0
        })
    })
}

/// # Safety
/// See optimizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optimizer_set_compression(enabled: c_int, ratio: c_int) -> c_int {
    guard(-1, || {
        let Ok(ratio) = u32::try_from(ratio) else { return -1 };
        with(|optimizer| {
            optimizer.choices.thinning = if enabled != 0 { ratio } else { 0 };
            0
        })
    })
}

/// # Safety
/// See optimizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optimizer_set_prediction_logging(
    interval: c_int,
    change: c_double,
) -> c_int {
    guard(-1, || {
        if interval < 0 || !sensible(&[change]) {
            return -1;
        }
        with(|_| {
            INSTANCE.optimizer_display.trend_every.store(interval, Relaxed);
            INSTANCE.optimizer_display.trend_least.store(change.to_bits(), Relaxed);
            0
        })
    })
}

/// # Safety
/// See optimizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optimizer_set_live_display(enabled: c_int) -> c_int {
    guard(-1, || {
        with(|_| {
            INSTANCE.optimizer_display.live.store(enabled, Relaxed);
            0
        })
    })
}

/// # Safety
/// The outputs are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optimizer_generate_report(
    buffer: *mut *mut c_char,
    size: *mut c_int,
) -> c_int {
    guard(-1, || {
        if buffer.is_null() || size.is_null() {
            return -1;
        }
        let mut report = String::new();
        let status = with(|optimizer| {
            report = optimizer.report();
            0
        });
        if status != 0 {
            return status;
        }
        let sites: Vec<_> = INSTANCE.servers.lock().values().cloned().collect();
        for line in sites.iter().filter_map(|it| it.engine()).flat_map(|it| it.optimizer_lines()) {
            let _ = writeln!(report, "{line}");
        }
        let Ok(length) = c_int::try_from(report.len()) else { return -1 };
        let copy = give(report.as_bytes());
        if copy.is_null() {
            return -1;
        }
        // SAFETY: checked not to be NULL, so writable.
        unsafe {
            buffer.write(copy);
            size.write(length);
        }
        0
    })
}

/// # Safety
/// See optimizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optimizer_show_performance() -> c_int {
    guard(-1, || {
        let Some(sample) = current() else { return -1 };
        print(format!("{}\n", line(&sample)).as_bytes());
        0
    })
}

/// # Safety
/// See optimizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optimizer_cleanup() {
    guard((), || {
        *INSTANCE.optimizer.lock() = None;
        INSTANCE.optimizer_display.live.store(0, Relaxed);
        INSTANCE.optimizer_display.trend_every.store(0, Relaxed);
        INSTANCE.optimizer_display.trend_least.store(0.0_f64.to_bits(), Relaxed);
        INSTANCE.optimizer_display.samples.store(0, Relaxed);
    });
}

/// # Safety
/// See optimizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn get_server_error_rate() -> c_double {
    guard(0.0, || {
        let answers = INSTANCE.answers.load(Relaxed);
        if answers == 0 {
            0.0
        } else {
            INSTANCE.failures.load(Relaxed) as f64 * 100.0 / answers as f64
        }
    })
}

/// # Safety
/// See optimizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adjust_network_buffer_size(size: c_int) -> c_int {
    // Buffers are borrowed from a pool as they are needed: there is no size to keep.
    if size > 0 { 0 } else { -1 }
}

/// # Safety
/// See optimizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adjust_thread_pool_size(size: c_int) -> c_int {
    // The pool starts threads on need, up to its bound, and ends idle ones.
    if size > 0 { 0 } else { -1 }
}

/// # Safety
/// See optimizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cache_increase_size(percent: c_int) -> c_int {
    guard(-1, || match u64::try_from(percent) {
        Ok(percent) => {
            resize_to_percent(100 + percent);
            0
        }
        Err(_) => -1,
    })
}

/// # Safety
/// See optimizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cache_reduce_size(percent: c_int) -> c_int {
    guard(-1, || match u64::try_from(percent) {
        Ok(percent @ 0..=100) => {
            resize_to_percent(100 - percent);
            0
        }
        _ => -1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_can_be_measured() {
        // SAFETY: no server is asked for.
        let reading = unsafe { reading(std::ptr::null_mut()) };
        assert!(reading.resident_bytes > 1 << 20);
        assert!(reading.at_ms > 0 && reading.unix_s > 0);
    }
}
