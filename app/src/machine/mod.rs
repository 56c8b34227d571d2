//! This process and this computer: memory, CPU, threads.

mod noise;
mod process;
mod threads;

pub(crate) use noise::noise;
pub use process::{
    BETWEEN_PROCESSES_BYTES, TYPICAL_PROCESS_BYTES, available_bytes, cpu_name, give_back, resident_bytes,
};
pub use threads::{Threads, all_cores};
