//! Instruction sets: which there are, which this CPU has, and the primitives that kernels are built from.
//!
//! An [`Isa`] is a token: it exists only where the CPU was seen to have the instructions (or somebody promised it), so
//! running a primitive through it is safe. Every primitive checks the bounds of its slices once, at its start, and then
//! runs without checks. All `unsafe` code of this crate lies in this module.
//!
//! The same primitive gives the same bits on the same instruction set; vector widths change the order of float sums.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod bytes;
mod correlate;
#[cfg(target_arch = "x86_64")]
mod cpuid;
mod gradient;
mod limits;
#[cfg(target_arch = "aarch64")]
mod neon;
mod rows;
mod scalar;
mod simd;
mod strip;
mod tiles;
mod winograd;

pub use block::{Block, Plain, blocks_for, numbers, numbers_in, numbers_mut};
pub use bytes::ByteTable;
pub use correlate::{Correlation, CorrelationRows};
pub use rows::{Affine, Quant, Row, RowMut};
pub use simd::Activation;
pub use strip::{BLOCK_ROWS, Lines, RUN_PAD, Strip, StripInput, StripSums, StripWeights};
pub use tiles::{Cuts, Moments, Order, TileBox, TileMut, Tiles};
pub use winograd::{BAND_REACH, BAND_ROWS, BANDS};

use core::fmt;
use simd::Kernel;

/// Elements from the start of the first of `count` rows to the end of the last: rows of `len` start every `step`. None
/// where there are no rows, or the number overflows.
fn span(count: usize, step: usize, len: usize) -> Option<usize> {
    count.checked_sub(1)?.checked_mul(step)?.checked_add(len)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx2Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni {
        permutes_bytes: bool,
    },
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// An instruction set that this CPU has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Set);

impl Isa {
    /// Plain Rust, on any CPU.
    pub const SCALAR: Isa = Isa(Set::Scalar);

    /// The best of this CPU.
    pub fn detect() -> Isa {
        Self::available().next().unwrap_or(Isa::SCALAR)
    }

    /// All of this CPU, the best first; the last is [`Self::SCALAR`].
    pub fn available() -> impl Iterator<Item = Isa> {
        #[cfg(target_arch = "x86_64")]
        let sets = {
            let cpu = cpuid::Features::read();
            [
                (cpu.avx512 && cpu.avx512_vnni).then_some(Isa(Set::Avx512Vnni { permutes_bytes: cpu.avx512_vbmi })),
                cpu.avx512.then_some(Isa(Set::Avx512)),
                (cpu.avx2 && cpu.avx_vnni).then_some(Isa(Set::Avx2Vnni)),
                cpu.avx2.then_some(Isa(Set::Avx2)),
                Some(Isa::SCALAR),
            ]
        };
        #[cfg(target_arch = "aarch64")]
        let sets = [Some(Isa(Set::Neon)), Some(Isa::SCALAR)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let sets = [Some(Isa::SCALAR)];
        sets.into_iter().flatten()
    }

    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2Vnni => "AVX2-VNNI",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni { .. } => "AVX-512-VNNI",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "NEON",
        }
    }

    /// Whether it looks bytes up in registers (VBMI), which not every CPU with this set has. Results are the same.
    #[cfg(target_arch = "x86_64")]
    fn permutes_bytes(self) -> bool {
        self.0 == Set::Avx512Vnni { permutes_bytes: true }
    }

    /// Elements of a vector of f32.
    pub fn lanes(self) -> usize {
        struct Lanes;
        impl Kernel for Lanes {
            type Out = usize;
            #[inline(always)]
            unsafe fn run<S: simd::Simd>(self) -> usize {
                S::LANES
            }
        }
        self.run(Lanes)
    }

    /// Input channels that one lane of the integer dot product takes: 4 bytes, or 2 halves of 16 bits.
    pub fn int_group(self) -> usize {
        struct Group;
        impl Kernel for Group {
            type Out = usize;
            #[inline(always)]
            unsafe fn run<S: simd::Simd>(self) -> usize {
                S::GROUP
            }
        }
        self.run(Group)
    }

    /// What it costs to pass over so many vectors in strips of the inner loop: a strip of fewer loads as many weights.
    pub(crate) fn strips(self, vectors: usize) -> usize {
        vectors / 3 * 9 + [0, 4, 7][vectors % 3]
    }

    /// Runs a kernel compiled for this instruction set.
    #[inline]
    fn run<K: Kernel>(self, kernel: K) -> K::Out {
        // SAFETY: an Isa exists only for a CPU that has its instructions.
        unsafe {
            match self.0 {
                Set::Scalar => kernel.run::<scalar::Scalar>(),
                #[cfg(target_arch = "x86_64")]
                Set::Avx2 => run_avx2(kernel),
                #[cfg(target_arch = "x86_64")]
                Set::Avx2Vnni => run_avx2_vnni(kernel),
                #[cfg(target_arch = "x86_64")]
                Set::Avx512 => run_avx512(kernel),
                #[cfg(target_arch = "x86_64")]
                Set::Avx512Vnni { .. } => run_avx512_vnni(kernel),
                #[cfg(target_arch = "aarch64")]
                Set::Neon => kernel.run::<neon::Neon>(),
            }
        }
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// # Safety
/// The CPU has the features named here; so for the next three.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Out {
    // SAFETY: the features are those of the function.
    unsafe { kernel.run::<avx2::Avx2<false>>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
unsafe fn run_avx2_vnni<K: Kernel>(kernel: K) -> K::Out {
    // SAFETY: as above.
    unsafe { kernel.run::<avx2::Avx2<true>>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Out {
    // SAFETY: as above.
    unsafe { kernel.run::<avx512::Avx512<false>>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn run_avx512_vnni<K: Kernel>(kernel: K) -> K::Out {
    // SAFETY: as above.
    unsafe { kernel.run::<avx512::Avx512<true>>() }
}
