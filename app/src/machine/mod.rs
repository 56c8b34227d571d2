//! This process and this computer: memory, CPU, threads.

mod memory;
mod noise;
mod process;
mod threads;

pub use memory::{
    BETWEEN_PROCESSES_BYTES, FreeMemory, MemoryLimit, TYPICAL_PROCESS_BYTES, free_memory, reset_peak, resident_bytes,
};
pub(crate) use noise::noise;
pub use process::{cpu_name, give_back, limit_allocator};
pub use threads::{Threads, all_cores};
