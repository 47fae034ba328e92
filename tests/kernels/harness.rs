//! What every kernel test needs: levels, seeded noise, guarded memory, watched calls.

#[cfg(nh_asm)]
pub mod call;
pub mod guard;
pub mod noise;

use neurohttp::kernel::{self, CpuLevel, Kernels};
use std::sync::OnceLock;

/// Lengths that are tried one by one, with every alignment; longer ones are drawn at random.
pub const LENGTH_EACH_MAX: usize = 300;

/// Alignments that are tried: every offset within a cache line.
pub const ALIGNMENTS: usize = 64;

/// The reference: the table without a vector instruction.
pub fn reference() -> Kernels {
    kernel::at(CpuLevel::Scalar).expect("the scalar level exists everywhere")
}

/// Of what is tried exhaustively, one in so many: `NEUROHTTP_TEST_THIN`, for a CPU that is emulated. A
/// prime number meets all remainders of the powers of two. 1 where it is not set.
pub fn thin() -> usize {
    static THIN: OnceLock<usize> = OnceLock::new();
    *THIN.get_or_init(|| {
        std::env::var("NEUROHTTP_TEST_THIN")
            .map_or(1, |text| text.parse().expect("a number above 0"))
    })
}

/// The table of each level this CPU reaches, the reference included: it must pass its own tests. Only the
/// highest where tests are thinned.
pub fn tables() -> impl Iterator<Item = Kernels> {
    let levels = CpuLevel::ALL.into_iter().rev().filter_map(kernel::at);
    levels.take(if thin() == 1 { usize::MAX } else { 1 })
}

/// Where in guarded memory one input stands, in words for a failure message.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// This many bytes after an unreadable page.
    AfterGuard(usize),
    /// Its last byte is the last before an unreadable page.
    BeforeGuard,
}

/// Every place an input of one length is tried at.
pub fn places() -> impl Iterator<Item = Place> {
    (0..ALIGNMENTS).step_by(thin()).map(Place::AfterGuard).chain([Place::BeforeGuard])
}
