//! What the CPU is called, and how the C allocator treats memory that was freed.

/// The CPU's name; its architecture where the system does not report one.
pub fn cpu_name() -> String {
    let name = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Lets freed memory go back to the system at once, from whichever thread it comes: announced peaks depend on it. A program
/// calls this first, before it starts threads.
///
/// The GNU allocator otherwise raises the size from which blocks are mapped by themselves to that of the largest block
/// that was freed, and keeps a heap for each thread. A folder of scans then takes several times the memory of its largest
/// one. Other allocators are left as they are.
#[allow(unsafe_code)]
pub fn limit_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Blocks from this size are mapped by themselves and unmapped when freed; the allocator's own starting value.
        const MAPPED_BYTES: libc::c_int = 128 << 10;
        /// All threads share the heap: kernels allocate next to nothing, so they do not wait for each other.
        const HEAPS: libc::c_int = 1;
        for (parameter, value) in [(libc::M_MMAP_THRESHOLD, MAPPED_BYTES), (libc::M_ARENA_MAX, HEAPS)] {
            // SAFETY: the function changes a parameter of the allocator, under the allocator's lock.
            unsafe {
                libc::mallopt(parameter, value);
            }
        }
    }
}

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
