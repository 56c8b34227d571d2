//! The fp16 roundings that the reference's arithmetic is made of.
//!
//! nnU-Net accumulates logits in fp16 with one rounding per addition and rounds again after export resampling, and
//! the last bit decides ties between classes. Subnormals count: 17 % of a Gaussian tile lies in their range. So these
//! conversions are written out, branch-free (compilers vectorise them), and never depend on hardware modes or on a
//! double rounding through `f32`.

/// The largest finite fp16 value.
pub const F16_MAX: f32 = 65504.0;

/// The fp16 value with these bits. Exact; infinities and NaN keep their meaning.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    let magnitude = ((bits & 0x7fff) as u32) << 13;
    let sign = ((bits & 0x8000) as u32) << 16;
    // Rebias the exponent from 15 to 127.
    let normal = magnitude + ((127 - 15) << 23);
    // Subnormals: read the mantissa as a normal number with the smallest exponent, then take its implicit one away.
    let subnormal = f32::from_bits(magnitude + (113 << 23)) - f32::from_bits(113 << 23);
    let special = magnitude + ((255 - 31) << 23);
    let exponent = magnitude >> 23;
    let value = if exponent == 0 {
        subnormal.to_bits()
    } else if exponent == 31 {
        special
    } else {
        normal
    };
    f32::from_bits(value | sign)
}

/// The fp16 bits nearest to `value`, ties to even; overflow gives infinity.
#[inline(always)]
pub fn f32_to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits & 0x8000_0000) >> 16;
    let magnitude = bits & 0x7fff_ffff;
    // Below the smallest normal fp16: adding 0.5 leaves exactly the fp16 quantum 2^-24 as the last mantissa bit.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_sub((127 - 15) << 23).wrapping_add(0xfff + odd) >> 13;
    let special = if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
    let half = if magnitude >= (143 << 23) {
        special
    } else if magnitude < (113 << 23) {
        subnormal
    } else {
        normal
    };
    (half | sign) as u16
}

/// `value` rounded to the nearest fp16 value, ties to even, with a single rounding; overflow gives infinity.
#[inline(always)]
pub fn round_f64_to_f16(value: f64) -> f32 {
    const DROPPED: u64 = 42; // f64 keeps 52 mantissa bits, fp16 ten
    let bits = value.to_bits();
    let odd = (bits >> DROPPED) & 1;
    let normal = f64::from_bits(bits.wrapping_add((1 << (DROPPED - 1)) - 1 + odd) & !((1u64 << DROPPED) - 1));
    // 2^-24 is the fp16 subnormal quantum; next to 1.5 * 2^28 it is the f64 quantum as well.
    const MAGIC: f64 = 402_653_184.0;
    let subnormal = (value + MAGIC) - MAGIC;
    let magnitude = f64::from_bits(bits & !(1 << 63));
    let rounded = if magnitude < 6.103_515_625e-5 { subnormal } else { normal };
    // 65520 is half-way between the largest fp16 and the next step, and rounds up.
    let rounded = if magnitude >= 65520.0 { f64::INFINITY.copysign_bits(bits) } else { rounded };
    rounded as f32
}

/// `copysign` without `std`.
trait CopySignBits {
    fn copysign_bits(self, bits: u64) -> Self;
}

impl CopySignBits for f64 {
    #[inline(always)]
    fn copysign_bits(self, bits: u64) -> f64 {
        f64::from_bits(self.to_bits() | (bits & (1 << 63)))
    }
}

/// Rounds to the nearest integer, ties to even, as numpy's `round` does.
#[inline]
pub fn round_half_even(value: f64) -> f64 {
    libm::rint(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;
    use proptest::prelude::*;

    #[test]
    fn every_half_widens_exactly() {
        for bits in 0..=u16::MAX {
            let expected = f16::from_bits(bits).to_f32();
            let got = f16_to_f32(bits);
            assert!(got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan()), "{bits:#x}");
        }
    }

    #[test]
    fn every_half_survives_the_round_trip_and_its_neighbours_round_right() {
        for bits in (0..=u16::MAX).filter(|b| b & 0x7c00 != 0x7c00) {
            let value = f16_to_f32(bits);
            assert_eq!(f32_to_f16(value), bits);
            for neighbour in [value.to_bits().wrapping_sub(1), value.to_bits() + 1] {
                let near = f32::from_bits(neighbour);
                if near.is_finite() {
                    assert_eq!(f32_to_f16(near), f16::from_f32(near).to_bits(), "{near}");
                }
            }
        }
    }

    #[test]
    fn the_middle_between_neighbours_goes_to_the_even_one() {
        for bits in 0..0x7bff_u16 {
            let middle = (f16_to_f32(bits) as f64 + f16_to_f32(bits + 1) as f64) / 2.0;
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            assert_eq!(f32_to_f16(middle as f32), even);
            assert_eq!(round_f64_to_f16(middle), f16_to_f32(even));
            // One double above the middle must not be lost on the way, as it would be through f32.
            let above = f64::from_bits(middle.to_bits() + 1);
            assert_eq!(round_f64_to_f16(above), f16_to_f32(bits + 1));
            assert_eq!(round_f64_to_f16(-above), -f16_to_f32(bits + 1));
        }
        assert_eq!(round_f64_to_f16(65519.999), 65504.0);
        assert_eq!(round_f64_to_f16(65520.0), f32::INFINITY);
        assert_eq!(round_f64_to_f16(-1e9), f32::NEG_INFINITY);
    }

    proptest! {
        #[test]
        fn f32_rounds_as_the_half_crate_does(bits: u32) {
            let value = f32::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(f32_to_f16(value), f16::from_f32(value).to_bits());
        }
    }
}
