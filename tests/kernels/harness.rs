//! What every kernel test needs: levels, seeded noise, guarded memory, watched calls.

#[cfg(nh_asm)]
pub mod call;
pub mod guard;
pub mod noise;

use neurohttp::kernel::{self, CpuLevel, Kernels};

/// Lengths that are tried one by one, with every alignment; longer ones are drawn at random.
pub const LENGTH_EACH_MAX: usize = 300;

/// Alignments that are tried: every offset within a cache line.
pub const ALIGNMENTS: usize = 64;

/// The reference: the table without a vector instruction.
pub fn reference() -> Kernels {
    kernel::at(CpuLevel::Scalar).expect("the scalar level exists everywhere")
}

/// The table of each level this CPU reaches, the reference included: it must pass its own tests.
pub fn tables() -> impl Iterator<Item = Kernels> {
    CpuLevel::ALL.into_iter().filter_map(kernel::at)
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
    (0..ALIGNMENTS).map(Place::AfterGuard).chain([Place::BeforeGuard])
}
