//! What this machine's arithmetic and memory allow.

use crate::machine::Threads;
use scanside_core::executor::Executor;
use scanside_core::network::Isa;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Rates per second that this machine reaches on some threads, each measured alone.
pub(super) struct Limits {
    /// Multiply-adds in single precision.
    pub(super) float_macs: f64,
    /// Multiply-adds of bytes.
    pub(super) int_macs: f64,
    /// Copied through memory, read and written counted.
    pub(super) bytes: f64,
}

impl Limits {
    pub(super) fn measure(isa: Isa, executor: &Threads) -> Limits {
        let best = |work: &(dyn Fn(&mut Vec<u8>) -> u64 + Sync)| {
            let mut buffers: Vec<Vec<u8>> = vec![vec![1; 64 << 20]; executor.workers()];
            let mut rate = 0f64;
            for _ in 0..5 {
                let done = AtomicU64::new(0);
                let start = Instant::now();
                executor.for_each(&mut buffers, |_, b| {
                    done.fetch_add(work(b), Ordering::Relaxed);
                });
                rate = rate.max(done.into_inner() as f64 / start.elapsed().as_secs_f64());
            }
            rate
        };
        Limits {
            float_macs: best(&|_| isa.spin_multiply_adds(4_000_000)),
            int_macs: best(&|_| isa.spin_dot_products(4_000_000)),
            bytes: best(&|b| {
                let (from, to) = b.split_at_mut(32 << 20);
                to.copy_from_slice(from);
                64 << 20
            }),
        }
    }
}
