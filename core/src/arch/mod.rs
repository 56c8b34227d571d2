//! Instruction sets: which there are, which this CPU has, and the primitives that kernels are built from.
//!
//! An [`Isa`] is a token: it exists only for an instruction set that this CPU was seen to have, or that the program was
//! compiled for, so running a primitive through it is safe. All `unsafe` code of this crate lies in this module, behind
//! functions that are sound for every argument that safe code can give them.
//!
//! # Why this is sound
//! - *Instructions.* [`Isa`] has a private field, and [`Isa::available`] is the only place that makes one beside
//!   [`Isa::SCALAR`]: it asks the CPU (CPUID and, for the registers that the system saves, XCR0). A kernel is generic over
//!   the instruction set; [`Isa::run`] instantiates it for the set of the token.
//! - *Bounds.* A kernel states what its slices must hold. Where that is one length, the function that starts it asserts so;
//!   where it is computed from sizes and distances ([`Strip`], `Correlation`, the bands of Winograd's method), it is
//!   computed with checked arithmetic, so that a number that overflows is refused and not wrapped. What a whole vector
//!   would touch past the end of a row goes through padded copies, or is part of what the slices must hold.
//! - *Aliasing.* Kernels take slices, so the borrow checker keeps what they write apart from what they read. The one
//!   exception is [`Tiles`], which hands out boxes of a tensor to several threads; its documentation says why they are apart.
//! - *Representation.* [`numbers`] and [`numbers_mut`] see blocks of bytes as numbers of a sealed set of types
//!   ([`Plain`]), of which every bit pattern is a value.
//!
//! The same primitive gives the same bits on the same instruction set; vector widths change the order of float sums.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod bytes;
#[cfg(target_arch = "x86_64")]
mod cpuid;
#[cfg(feature = "train")]
mod gradient;
mod limits;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon;
mod rows;
mod scalar;
mod simd;
mod strip;
mod tiles;
mod winograd;

pub use block::{Block, Plain, blocks_for, numbers, numbers_in, numbers_mut};
pub use bytes::ByteTable;
#[cfg(feature = "train")]
pub use gradient::{Correlation, CorrelationRows, NormedRow};
pub use rows::{Affine, Quant, Row, RowMut};
pub use simd::{Activation, BLOCK_ROWS};
pub use strip::{Lines, RUN_PAD, Strip, StripInput, StripSums, StripWeights};
pub use tiles::{Cuts, Moments, Order, TileBox, TileMut, Tiles};
pub use winograd::{BAND_REACH, BAND_ROWS, BANDS, Bands};

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
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    Neon,
}

/// An instruction set that this CPU has: there is no way to make one for a CPU that does not.
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
    ///
    /// On x86-64 the CPU is asked, with or without an operating system; NEON is there where the target has it.
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
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        let sets = [Some(Isa(Set::Neon)), Some(Isa::SCALAR)];
        #[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon"))))]
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
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
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
        // SAFETY: the kernel has no conditions.
        unsafe { self.run(Lanes) }
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
        // SAFETY: the kernel has no conditions.
        unsafe { self.run(Group) }
    }

    /// What it costs to pass over so many vectors in strips of the inner loop: a strip of fewer loads as many weights.
    pub(crate) fn strips(self, vectors: usize) -> usize {
        vectors / 3 * 9 + [0, 4, 7][vectors % 3]
    }

    /// Runs a kernel compiled for this instruction set.
    ///
    /// # Safety
    /// The conditions that the kernel states hold.
    #[inline]
    unsafe fn run<K: Kernel>(self, kernel: K) -> K::Out {
        // SAFETY: an Isa exists only for a CPU that has its instructions; the caller promises the kernel's conditions.
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
                #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
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
/// The CPU has the features named here, and the kernel's conditions hold; so for the next three.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Out {
    // SAFETY: the features are those of the function; the caller promises the rest.
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
