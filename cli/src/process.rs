//! What the operating system says of this process.

/// Resident memory now, and the most it ever was, in bytes; `None` where the system does not tell.
pub(crate) fn resident_bytes() -> Option<(usize, usize)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| -> Option<usize> {
        let line = status.lines().find(|l| l.starts_with(name))?;
        let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
        kib.checked_mul(1024)
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

/// The process's memory while it holds nothing but a model, where the system does not tell.
pub(crate) const TYPICAL_PROCESS_BYTES: usize = 64 << 20;
