//! What was found and chosen, for people and for /stats.

use super::{CpuLevel, Features, Kernels};
use std::fmt;

/// Who does one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobReport {
    /// The job's name, as in asm/ and tests/kernels.
    pub job: &'static str,
    /// `rust`, `nasm` with its instruction set, or the name of a crate.
    pub implementation: &'static str,
}

/// A level that failed the start-up self-test and is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// The level that was tried.
    pub level: CpuLevel,
    /// The first job whose result differed from the reference.
    pub job: &'static str,
}

/// The choice of kernels and its reasons. `Display` prints it as `neurohttp kernels` shows it.
#[derive(Debug, Clone)]
pub struct Report {
    features: Features,
    cap: Option<String>,
    level: CpuLevel,
    jobs: Vec<JobReport>,
    rejected: Vec<Rejected>,
}

impl Report {
    pub(super) fn new(
        features: Features,
        cap: Option<String>,
        table: &Kernels,
        rejected: Vec<Rejected>,
    ) -> Report {
        Report { features, cap, level: table.level, jobs: table.jobs(), rejected }
    }

    /// What the CPU has and the system saves.
    pub fn features(&self) -> Features {
        self.features
    }

    /// The highest level the CPU allows.
    pub fn cpu_level(&self) -> CpuLevel {
        self.features.level()
    }

    /// The level in use.
    pub fn level(&self) -> CpuLevel {
        self.level
    }

    /// `NEUROHTTP_CPU` as it was set, known word or not.
    pub fn cap(&self) -> Option<&str> {
        self.cap.as_deref()
    }

    /// Whether this build has the kernels in assembly.
    pub const fn has_assembly(&self) -> bool {
        cfg!(nh_asm)
    }

    /// Who does each job, in a fixed order.
    pub fn jobs(&self) -> &[JobReport] {
        &self.jobs
    }

    /// Levels that failed the self-test, the highest first; empty when all is well.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// The outcome of the self-test in words: `passed`, or what failed at which level.
    pub fn self_test(&self) -> String {
        let failures: Vec<String> = self
            .rejected
            .iter()
            .map(|Rejected { level, job }| format!("{job} FAILED at level {level}"))
            .collect();
        if failures.is_empty() { "passed".to_owned() } else { failures.join(", ") }
    }

    /// Whether `NEUROHTTP_CPU` is set to something that is no level.
    pub fn has_unknown_cap(&self) -> bool {
        self.cap().is_some_and(|cap| CpuLevel::from_name(cap).is_none())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.features.names().collect();
        let features = if names.is_empty() { "none known".to_owned() } else { names.join(" ") };
        writeln!(f, "CPU features  {features}")?;
        writeln!(f, "CPU level     {}", self.cpu_level())?;
        match self.cap() {
            Some(cap) if CpuLevel::from_name(cap).is_some() => {
                writeln!(f, "NEUROHTTP_CPU {cap}")?;
            }
            Some(cap) => {
                let escaped = cap.escape_default();
                writeln!(f, "NEUROHTTP_CPU \"{escaped}\" is not a level and has no effect")?;
            }
            None => {}
        }
        writeln!(
            f,
            "assembly      {}",
            if self.has_assembly() { "yes" } else { "not in this build" }
        )?;
        writeln!(f, "level in use  {}", self.level)?;
        writeln!(f, "self-test     {}", self.self_test())?;
        let width = self.jobs.iter().map(|job| job.job.len()).max().unwrap_or(0);
        for job in &self.jobs {
            writeln!(f, "  {:width$}  {}", job.job, job.implementation)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::at;

    // An operator must see a failed self-test and a mistyped cap.
    #[test]
    fn shows_what_went_wrong() {
        let table = at(CpuLevel::Scalar).unwrap();
        let rejected = vec![Rejected { level: CpuLevel::Avx2, job: "crc32" }];
        let cap = Some("avx3\n".to_owned());
        let text = Report::new(Features::default(), cap, &table, rejected).to_string();
        assert!(text.contains("crc32 FAILED at level avx2"), "{text}");
        assert!(text.contains("\"avx3\\n\" is not a level"), "{text}");
        assert!(!text.contains("passed"), "{text}");
        assert!(text.contains("level in use  scalar"), "{text}");
    }
}
