//! Powers of values in 0..1, in a form that compilers turn into vector instructions.

/// Adding and subtracting it rounds a small number to the nearest integer; after the addition, the integer is in the low bits.
const ROUNDER: f32 = 12_582_912.0;

/// `value` to the power of `exponent`, for `value` in 0..=1 and `exponent` above 0. Within 1e-6.
#[inline(always)]
pub(super) fn power(value: f32, exponent: f32) -> f32 {
    let result = exp2(exponent * log2(value.max(f32::MIN_POSITIVE)));
    if value > 0.0 { result } else { 0.0 }
}

/// The logarithm by the series of artanh, whose argument is within 0.172 once the mantissa is close to 1.
#[inline(always)]
fn log2(value: f32) -> f32 {
    const HALF_ROOT: u32 = 0x3f35_04f3;
    let shifted = value.to_bits().wrapping_sub(HALF_ROOT) as i32;
    let exponent = shifted >> 23;
    let mantissa = f32::from_bits(((shifted & 0x007f_ffff) as u32).wrapping_add(HALF_ROOT));
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let s = t * t;
    let series = 1.0 + s * (1.0 / 3.0 + s * (0.2 + s * (1.0 / 7.0 + s * (1.0 / 9.0))));
    exponent as f32 + t * series * (2.0 * std::f32::consts::LOG2_E)
}

/// `exponent` at most 0; below -126 the result is the least normal number.
#[inline(always)]
fn exp2(exponent: f32) -> f32 {
    let exponent = exponent.max(-126.0);
    let rounded = exponent + ROUNDER;
    let whole = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()) as i32;
    let f = (exponent - (rounded - ROUNDER)) * std::f32::consts::LN_2;
    let series = 1.0 + f * (1.0 + f * (0.5 + f * (1.0 / 6.0 + f * (1.0 / 24.0 + f * (1.0 / 120.0 + f / 720.0)))));
    f32::from_bits((whole.wrapping_add(127) as u32) << 23) * series
}

#[cfg(test)]
mod tests {
    use super::power;

    #[test]
    fn agrees_with_the_library() {
        for exponent in [0.7_f32, 0.83, 1.0, 1.27, 1.5] {
            for i in 0..=100_000 {
                let value = i as f32 / 100_000.0;
                let expected = f64::from(value).powf(f64::from(exponent));
                let got = f64::from(power(value, exponent));
                assert!((got - expected).abs() < 1e-6, "{value}^{exponent} is {expected}, not {got}");
            }
        }
        assert_eq!(power(0.0, 0.7), 0.0);
        assert!((0.0..1e-20).contains(&power(f32::MIN_POSITIVE / 8.0, 0.7)));
    }
}
