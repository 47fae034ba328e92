//! The choice of a level, seen from outside: the environment caps it, the report shows it.

use neurohttp::kernel::{self, CpuLevel};
use std::process::Command;

/// Set in a child process only: the level it must find in use.
const EXPECTED: &str = "NEUROHTTP_TEST_EXPECTED_LEVEL";

// An operator who caps the level must get it: this is the way out when a CPU misbehaves.
#[test]
fn environment_caps_the_level() {
    let cpu_level = kernel::report().cpu_level();
    for cap in CpuLevel::ALL {
        let expected = cap.min(cpu_level);
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "level::child_sees_its_level", "--ignored"])
            .env("NEUROHTTP_CPU", cap.name())
            .env(EXPECTED, expected.name())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&status.stdout);
        assert!(status.status.success() && text.contains("1 passed"), "{cap}: {text}");
    }
}

#[test]
#[ignore = "runs in a child process of environment_caps_the_level"]
fn child_sees_its_level() {
    let expected = std::env::var(EXPECTED).expect("run by its parent test");
    assert_eq!(kernel::level().name(), expected, "{}", kernel::report());
    assert_eq!(kernel::crc32(b"123456789"), 0xCBF4_3926);
}

// The report is what a bug report will quote: it must say who does each job, and that the test passed.
#[test]
fn report_is_complete() {
    let report = kernel::report();
    let text = report.to_string();
    assert!(report.rejected().is_empty(), "{text}");
    assert!(text.contains("self-test     passed"), "{text}");
    assert!(text.contains(&format!("level in use  {}", kernel::level())), "{text}");
    for job in report.jobs() {
        assert!(text.contains(job.job) && text.contains(job.implementation), "{text}");
    }
    assert_eq!(report.has_assembly(), cfg!(nh_asm));
}
