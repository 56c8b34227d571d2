//! What an x86-64 CPU has and its operating system saves, without std.

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Features {
    /// AVX2, FMA and F16C.
    pub(super) avx2: bool,
    pub(super) avx_vnni: bool,
    /// F, BW, DQ and VL.
    pub(super) avx512: bool,
    pub(super) avx512_vnni: bool,
    pub(super) avx512_vbmi: bool,
}

impl Features {
    pub(super) fn read() -> Features {
        // The interpreter knows no such instruction.
        if cfg!(miri) {
            return Features::default();
        }
        let bit = |word: u32, n: u32| word >> n & 1 == 1;
        if __cpuid(0).eax < 7 {
            return Features::default();
        }
        let one = __cpuid(1);
        let (osxsave, avx) = (bit(one.ecx, 27), bit(one.ecx, 28));
        if !(osxsave && avx) {
            return Features::default();
        }
        // SAFETY: OSXSAVE says that the instruction is there.
        let saved = unsafe { xcr0() };
        let ymm = saved & 0b110 == 0b110;
        let zmm = saved & 0b1110_0110 == 0b1110_0110;
        let seven = __cpuid_count(7, 0);
        let seven_one = __cpuid_count(7, 1);
        let avx2 = ymm && bit(seven.ebx, 5) && bit(one.ecx, 12) && bit(one.ecx, 29);
        let avx512 = avx2 && zmm && [16, 17, 30, 31].iter().all(|&n| bit(seven.ebx, n));
        Features {
            avx2,
            avx_vnni: avx2 && bit(seven_one.eax, 4),
            avx512,
            avx512_vnni: avx512 && bit(seven.ecx, 11),
            avx512_vbmi: avx512 && bit(seven.ecx, 1),
        }
    }
}

/// # Safety
/// The CPU has XSAVE and the system switched it on.
#[target_feature(enable = "xsave")]
unsafe fn xcr0() -> u64 {
    // SAFETY: the caller promises the instruction.
    unsafe { _xgetbv(0) }
}
