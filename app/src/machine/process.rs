//! This process and this computer, as the operating system describes them.

/// Resident memory now, and the most it ever was, in bytes; `None` where the system does not tell.
pub fn resident_bytes() -> Option<(usize, usize)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| -> Option<usize> {
        let line = status.lines().find(|l| l.starts_with(name))?;
        let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
        kib.checked_mul(1024)
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

/// Memory that this machine could give to a process now, in bytes; `None` where the system does not tell.
pub fn available_bytes() -> Option<usize> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = memory.lines().find(|l| l.starts_with("MemAvailable:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// What the CPU calls itself; its architecture where the system does not tell.
pub fn cpu_name() -> String {
    let name = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The process's memory while it holds nothing but a model, where the system does not tell.
pub const TYPICAL_PROCESS_BYTES: usize = 64 << 20;

/// What two processes that hold the same model differ by: where pages fall, and what the system maps of the program.
/// Runs of one model were seen to differ by half of it.
pub const BETWEEN_PROCESSES_BYTES: usize = 2 << 20;

/// Gives memory that was freed back to the system: reading a model takes several times its weights for a moment, and the
/// C allocator keeps what is between blocks still in use.
#[allow(unsafe_code)]
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function touches nothing but the allocator's own free lists, under its lock.
    unsafe {
        libc::malloc_trim(0);
    }
}
