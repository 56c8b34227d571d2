//! The inner loop of correlation for AVX2.

use core::arch::asm;
use core::arch::x86_64::__m256;

/// Four rows by three others take all sixteen registers, which the compiler does not manage without moving them about.
///
/// # Safety
/// As for [`Simd::correlate`](crate::arch::simd::Simd::correlate); `len` is a multiple of the vector, and not 0.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(in crate::arch) unsafe fn correlate_4x3(
    a: &mut [[__m256; 3]; 4],
    rows: *const f32,
    pitch: usize,
    shifted: &[*const f32; 3],
    len: usize,
) {
    // SAFETY: reads `len` numbers of each row, which the caller promised.
    unsafe {
        let ends = rows.add(len);
        asm!(
            "2:",
            "vmovups {x0}, ymmword ptr [{p0} + {n}]",
            "vmovups {x1}, ymmword ptr [{p1} + {n}]",
            "vmovups {x2}, ymmword ptr [{p2} + {n}]",
            "vmovups {v}, ymmword ptr [{r0} + {n}]",
            "vfmadd231ps {a00}, {v}, {x0}",
            "vfmadd231ps {a01}, {v}, {x1}",
            "vfmadd231ps {a02}, {v}, {x2}",
            "vmovups {v}, ymmword ptr [{r1} + {n}]",
            "vfmadd231ps {a10}, {v}, {x0}",
            "vfmadd231ps {a11}, {v}, {x1}",
            "vfmadd231ps {a12}, {v}, {x2}",
            "vmovups {v}, ymmword ptr [{r2} + {n}]",
            "vfmadd231ps {a20}, {v}, {x0}",
            "vfmadd231ps {a21}, {v}, {x1}",
            "vfmadd231ps {a22}, {v}, {x2}",
            "vmovups {v}, ymmword ptr [{r3} + {n}]",
            "vfmadd231ps {a30}, {v}, {x0}",
            "vfmadd231ps {a31}, {v}, {x1}",
            "vfmadd231ps {a32}, {v}, {x2}",
            "add {n}, 32",
            "jne 2b",
            r0 = in(reg) ends,
            r1 = in(reg) ends.wrapping_add(pitch),
            r2 = in(reg) ends.wrapping_add(2 * pitch),
            r3 = in(reg) ends.wrapping_add(3 * pitch),
            p0 = in(reg) shifted[0].add(len),
            p1 = in(reg) shifted[1].add(len),
            p2 = in(reg) shifted[2].add(len),
            n = inout(reg) (len as isize).wrapping_mul(-4) => _,
            x0 = out(ymm_reg) _,
            x1 = out(ymm_reg) _,
            x2 = out(ymm_reg) _,
            v = out(ymm_reg) _,
            a00 = inout(ymm_reg) a[0][0],
            a01 = inout(ymm_reg) a[0][1],
            a02 = inout(ymm_reg) a[0][2],
            a10 = inout(ymm_reg) a[1][0],
            a11 = inout(ymm_reg) a[1][1],
            a12 = inout(ymm_reg) a[1][2],
            a20 = inout(ymm_reg) a[2][0],
            a21 = inout(ymm_reg) a[2][1],
            a22 = inout(ymm_reg) a[2][2],
            a30 = inout(ymm_reg) a[3][0],
            a31 = inout(ymm_reg) a[3][1],
            a32 = inout(ymm_reg) a[3][2],
            options(readonly, nostack)
        );
    }
}
