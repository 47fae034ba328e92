//! ai/stats.h: counters per model in a JSON file.

use crate::boundary::guard;
use crate::legacy::instance::INSTANCE;
use crate::legacy::memory::{allocate, give, monotonic_ns, path, release, text, unix_seconds};
use crate::legacy::types::ModelStats;
use crate::legacy::utils::logging::{Level, write};
use serde::Deserialize;
use std::ffi::{c_char, c_double, c_int};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Used when no file is named.
const FILE: &str = "stats.json";
/// From this many models on no more are added; a file may hold more.
const MODELS_MAX: usize = 4096;
/// A larger file is not ours.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What is known of one model; the members of the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Model {
    model_name: String,
    total_requests: u64,
    successful_requests: u64,
    failed_requests: u64,
    avg_response_time: f64,
    min_response_time: f64,
    max_response_time: f64,
    total_tokens_processed: u64,
    last_used: i64,
}

/// Without `models` it is a file of somebody else's.
#[derive(Deserialize)]
struct Document {
    models: Vec<Model>,
}

/// The counters, where they are kept and how often.
pub struct StatsFile {
    file: PathBuf,
    interval_ns: u64,
    saved_ns: u64,
    models: Vec<Model>,
    /// The file was there and could not be read: it is not ours to replace.
    unread: bool,
}

impl StatsFile {
    fn find(&mut self, name: &str) -> Option<&mut Model> {
        self.models.iter_mut().find(|model| model.model_name == name)
    }

    fn add(&mut self, name: &str) -> bool {
        if self.find(name).is_some() {
            return true;
        }
        if self.models.len() >= MODELS_MAX {
            return false;
        }
        self.models.push(Model { model_name: name.to_owned(), ..Model::default() });
        true
    }

    /// Writes the file. One that could not be read stays as it is for as long as it is there: the
    /// counters go beside it, under `.new`, and the save counts as failed.
    fn save(&mut self) -> bool {
        let json = self.to_json();
        let saved = if self.unread && self.file.symlink_metadata().is_ok() {
            let beside = beside(&self.file);
            std::fs::write(&beside, json.as_bytes()).and_then(|()| {
                let kept = beside.display();
                Err(std::io::Error::other(format!("it was not readable; see {kept}")))
            })
        } else {
            replace_file(&self.file, json.as_bytes())
        };
        self.unread &= saved.is_err();
        if let Err(error) = &saved {
            write(
                Level::Error,
                format!("statistics not written to {}: {error}", self.file.display()).as_bytes(),
            );
        }
        self.saved_ns = monotonic_ns();
        saved.is_ok()
    }

    /// One member a line; old readers match on text.
    fn to_json(&self) -> String {
        let mut json = String::from("{\n  \"models\": [");
        for (index, model) in self.models.iter().enumerate() {
            let name = serde_json::Value::from(model.model_name.as_str());
            let _ = write!(
                json,
                "{}\n    {{\n      \"model_name\": {name},\n      \"total_requests\": {},\n      \
                 \"successful_requests\": {},\n      \"failed_requests\": {},\n      \
                 \"avg_response_time\": {:.2},\n      \"min_response_time\": {:.2},\n      \
                 \"max_response_time\": {:.2},\n      \"total_tokens_processed\": {},\n      \
                 \"last_used\": {}\n    }}",
                if index == 0 { "" } else { "," },
                model.total_requests,
                model.successful_requests,
                model.failed_requests,
                model.avg_response_time,
                model.min_response_time,
                model.max_response_time,
                model.total_tokens_processed,
                model.last_used,
            );
        }
        json.push_str("\n  ]\n}\n");
        json
    }
}

impl Model {
    fn succeeded(&mut self, response_time: f64, tokens: u64, now: i64) {
        self.total_requests = self.total_requests.saturating_add(1);
        self.successful_requests = self.successful_requests.saturating_add(1);
        let count = self.successful_requests as f64;
        self.avg_response_time += (response_time - self.avg_response_time) / count;
        if self.successful_requests == 1 {
            (self.min_response_time, self.max_response_time) = (response_time, response_time);
        }
        self.min_response_time = self.min_response_time.min(response_time);
        self.max_response_time = self.max_response_time.max(response_time);
        self.total_tokens_processed = self.total_tokens_processed.saturating_add(tokens);
        self.last_used = now;
    }

    fn failed(&mut self, now: i64) {
        self.total_requests = self.total_requests.saturating_add(1);
        self.failed_requests = self.failed_requests.saturating_add(1);
        self.last_used = now;
    }

    fn to_c(&self) -> Option<ModelStats> {
        let model_name = give(self.model_name.as_bytes());
        (!model_name.is_null()).then_some(ModelStats {
            model_name,
            total_requests: self.total_requests,
            successful_requests: self.successful_requests,
            failed_requests: self.failed_requests,
            avg_response_time: self.avg_response_time,
            min_response_time: self.min_response_time,
            max_response_time: self.max_response_time,
            total_tokens_processed: self.total_tokens_processed,
            last_used: self.last_used,
        })
    }
}

/// Writes beside the file and renames, so that a crash leaves the old one or the new one.
fn replace_file(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let beside = beside(file);
    std::fs::write(&beside, content)?;
    std::fs::rename(&beside, file)
}

fn beside(file: &Path) -> PathBuf {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    PathBuf::from(beside)
}

/// What a file holds: nothing when it is not there, an error when it cannot be read.
fn load(file: &Path) -> Result<Vec<Model>, String> {
    use std::io::Read;
    let opened = match std::fs::File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut content = Vec::new();
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).map_err(|error| error.to_string())?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than {} MiB", FILE_BYTES_MAX >> 20));
    }
    if content.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let document = serde_json::from_slice(&content).map_err(|error| error.to_string())?;
    let Document { models } = document;
    Ok(models)
}

/// Counts an answer that the server itself drew from a model, if counting is on.
pub(in crate::legacy) fn note(model: &str, outcome: Result<(f64, u64), ()>) {
    if let Some(stats) = INSTANCE.stats.lock().as_mut()
        && stats.add(model)
        && let Some(model) = stats.find(model)
    {
        match outcome {
            Ok((response_ms, tokens)) => model.succeeded(response_ms, tokens, unix_seconds()),
            Err(()) => model.failed(unix_seconds()),
        }
    }
}

/// # Safety
/// `stats_file` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stats_init(stats_file: *const c_char, auto_save_interval: c_int) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let file = unsafe { path(stats_file) }.unwrap_or(Path::new(FILE)).to_owned();
        let loaded = load(&file);
        let unread = loaded.is_err();
        let models = loaded.unwrap_or_else(|error| {
            let line = format!("statistics in {} are not readable: {error}", file.display());
            write(Level::Warning, line.as_bytes());
            Vec::new()
        });
        let interval_ns =
            u64::try_from(auto_save_interval).unwrap_or(0).saturating_mul(1_000_000_000);
        let stats = StatsFile { file, interval_ns, saved_ns: monotonic_ns(), models, unread };
        *INSTANCE.stats.lock() = Some(stats);
        0
    })
}

/// Runs `body` on the counters with a model's name; −1 without either.
///
/// # Safety
/// `model_name` is NULL or NUL-terminated.
unsafe fn with(
    model_name: *const c_char,
    body: impl FnOnce(&mut StatsFile, &str) -> c_int,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let Some(name) = (unsafe { text(model_name) }) else { return -1 };
        match INSTANCE.stats.lock().as_mut() {
            Some(stats) => body(stats, &String::from_utf8_lossy(name)),
            None => -1,
        }
    })
}

/// # Safety
/// `model_name` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stats_add_model(model_name: *const c_char) -> c_int {
    // SAFETY: as promised by the caller.
    unsafe { with(model_name, |stats, name| if stats.add(name) { 0 } else { -1 }) }
}

/// # Safety
/// `model_name` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stats_record_successful_request(
    model_name: *const c_char,
    response_time: c_double,
    tokens_processed: c_int,
) -> c_int {
    let record = |stats: &mut StatsFile, name: &str| {
        if !response_time.is_finite() {
            return -1;
        }
        let Some(model) = stats.find(name) else { return -1 };
        model.succeeded(
            response_time,
            u64::try_from(tokens_processed).unwrap_or(0),
            unix_seconds(),
        );
        0
    };
    // SAFETY: as promised by the caller.
    unsafe { with(model_name, record) }
}

/// # Safety
/// `model_name` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stats_record_failed_request(model_name: *const c_char) -> c_int {
    let record = |stats: &mut StatsFile, name: &str| {
        let Some(model) = stats.find(name) else { return -1 };
        model.failed(unix_seconds());
        0
    };
    // SAFETY: as promised by the caller.
    unsafe { with(model_name, record) }
}

/// # Safety
/// `model_name` is NULL or NUL-terminated; `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stats_get_model_stats(
    model_name: *const c_char,
    stats: *mut ModelStats,
) -> c_int {
    if stats.is_null() {
        return -1;
    }
    let copy =
        |file: &mut StatsFile, name: &str| match file.find(name).and_then(|model| model.to_c()) {
            Some(filled) => {
                // SAFETY: checked not to be NULL, so writable.
                unsafe { stats.write(filled) };
                0
            }
            None => -1,
        };
    // SAFETY: as promised by the caller.
    unsafe { with(model_name, copy) }
}

/// # Safety
/// The outputs are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stats_get_all_stats(
    stats: *mut *mut ModelStats,
    count: *mut c_int,
) -> c_int {
    guard(-1, || {
        if stats.is_null() || count.is_null() {
            return -1;
        }
        let lock = INSTANCE.stats.lock();
        let Some(file) = lock.as_ref() else { return -1 };
        let models = &file.models;
        let array = allocate(models.len() * size_of::<ModelStats>()).cast::<ModelStats>();
        if array.is_null() {
            return -1;
        }
        for (index, model) in models.iter().enumerate() {
            let Some(filled) = model.to_c() else {
                // SAFETY: the places before `index` are filled, their names came from malloc.
                unsafe {
                    (0..index).for_each(|done| release((*array.add(done)).model_name.cast()));
                    release(array.cast());
                }
                return -1;
            };
            // SAFETY: the array has one place per model.
            unsafe { array.add(index).write(filled) };
        }
        // SAFETY: checked not to be NULL, so writable. What a file can hold fits an int.
        unsafe {
            stats.write(array);
            count.write(models.len() as c_int);
        }
        0
    })
}

/// # Safety
/// See ai/stats.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stats_auto_save() -> c_int {
    guard(-1, || match INSTANCE.stats.lock().as_mut() {
        Some(stats) if monotonic_ns().saturating_sub(stats.saved_ns) >= stats.interval_ns => {
            let saved = stats.save();
            if saved { 0 } else { -1 }
        }
        _ => -1,
    })
}

/// # Safety
/// See ai/stats.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stats_save() -> c_int {
    guard(-1, || {
        let saved = INSTANCE.stats.lock().as_mut().is_some_and(StatsFile::save);
        if saved { 0 } else { -1 }
    })
}

/// # Safety
/// See ai/stats.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stats_cleanup() {
    guard((), || {
        if let Some(mut stats) = INSTANCE.stats.lock().take() {
            stats.save();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = std::env::temp_dir().join(format!("nh-stats-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("stats.json");
        let mut stats = StatsFile {
            file: file.clone(),
            interval_ns: 0,
            saved_ns: 0,
            models: Vec::new(),
            unread: false,
        };
        assert!(stats.add("a \"quoted\" name"));
        assert!(stats.add("b"));
        assert!(stats.add("b"));
        let model = stats.find("b").unwrap();
        for time in [4.0, 2.0, 6.0] {
            model.succeeded(time, 10, 99);
        }
        model.failed(100);
        assert!(stats.save());
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("\n      \"avg_response_time\": 4.00,\n"), "{text}");
        let loaded = load(&file).unwrap();
        assert_eq!(loaded, stats.models);
        assert_eq!((loaded[1].min_response_time, loaded[1].max_response_time), (2.0, 6.0));
        assert_eq!((loaded[1].total_requests, loaded[1].total_tokens_processed), (4, 30));
        std::fs::write(&file, "{\"models\": nonsense").unwrap();
        assert!(load(&file).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(load(&file), Ok(Vec::new()));
    }

    #[test]
    fn a_file_of_very_many_models_is_kept_whole() {
        let file = std::env::temp_dir().join(format!("nh-stats-many-{}", std::process::id()));
        let mut stats = StatsFile {
            file: file.clone(),
            interval_ns: 0,
            saved_ns: 0,
            models: (0..MODELS_MAX + 10)
                .map(|n| Model { model_name: n.to_string(), total_requests: 1, ..Model::default() })
                .collect(),
            unread: false,
        };
        assert!(stats.save());
        assert_eq!(load(&file).unwrap(), stats.models);
        assert!(stats.add("4100") && !stats.add("another"));
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_read_is_kept() {
        let folder = std::env::temp_dir().join(format!("nh-stats-kept-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("stats.json");
        let large = vec![b' '; FILE_BYTES_MAX as usize + 1];
        let foreign = [&b"{\"models\": [{\"total_requests\": 7"[..], b"{\"requests\": 7}", b"{}"];
        for content in foreign.into_iter().chain([&large[..]]) {
            std::fs::write(&file, content).unwrap();
            let unread = load(&file).is_err();
            assert!(unread);
            let mut stats = StatsFile {
                file: file.clone(),
                interval_ns: 0,
                saved_ns: 0,
                models: Vec::new(),
                unread,
            };
            assert!(stats.add("a"));
            assert!(!stats.save() && !stats.save());
            assert!(std::fs::read(&file).unwrap() == content, "the file was replaced");
            assert_eq!(load(&beside(&file)).unwrap(), stats.models);
            // Moved away by its owner, it is in nobody's way.
            std::fs::remove_file(&file).unwrap();
            assert!(stats.save() && stats.save());
            assert_eq!(load(&file).unwrap(), stats.models);
        }
        std::fs::write(&file, "\n").unwrap();
        assert_eq!(load(&file), Ok(Vec::new()));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
