//! Bytes and seconds, as people write and read them.

use bytesize::ByteSize;

/// Reads a number of bytes above 0: `1.5G`, `800M` (decimal), `2GiB` (binary).
///
/// # Errors
/// A sentence that says how to write one.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    match text.parse::<ByteSize>() {
        Ok(size) if size.as_u64() > 0 => Ok(size.as_u64()),
        _ => Err("give a size such as 1.5G, 800M or 2GiB".into()),
    }
}

/// Reads a time in seconds above 0: `60s`, `2m`, `1h`.
///
/// # Errors
/// A sentence that says how to write one.
pub fn parse_seconds(text: &str) -> Result<f64, String> {
    let number_and_unit = text.find(|c: char| c.is_ascii_alphabetic()).map(|at| text.split_at(at));
    let seconds = number_and_unit.and_then(|(number, unit)| {
        let each = match unit {
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        Some(number.trim_end().parse::<f64>().ok()? * each)
    });
    seconds.filter(|s| *s > 0.0 && s.is_finite()).ok_or_else(|| "give a time such as 60s, 2m or 1h".into())
}

/// Seconds for people.
pub fn human_seconds(seconds: f64) -> String {
    if seconds < 99.5 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02} s", (seconds / 60.0) as u64, (seconds % 60.0) as u64)
    }
}

/// Bytes for people, decimal.
pub fn human_bytes(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes >= 1e9 { format!("{:.2} GB", bytes / 1e9) } else { format!("{:.0} MB", (bytes / 1e6).ceil()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_seconds("60s"), Ok(60.0));
        assert_eq!(parse_seconds("2m"), Ok(120.0));
        assert_eq!(parse_seconds("1.5 min"), Ok(90.0));
        assert_eq!(parse_seconds("1h"), Ok(3600.0));
        for wrong in ["60", "", "s", "0s", "-1s", "1d", "1h30m", "infs", "1e999s"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_decimal_unless_they_say_otherwise() {
        assert_eq!(parse_bytes("1.5G"), Ok(1_500_000_000));
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
        for wrong in ["", "0", "many", "-1M"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
