//! A budget of memory for cases that are processed in parallel.
//!
//! The system would kill the program if its threads used more memory than there is. Each case therefore waits until the
//! budget has room for it.

use scanside_app::machine::free_memory;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Fraction of the memory that is free at the start.
const FRACTION: f64 = 0.7;

/// Bytes that all cases together may use.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    free: Mutex<u64>,
    total: u64,
    changed: Condvar,
}

/// Bytes that a case uses until this is dropped.
pub(super) struct Reservation<'a> {
    budget: &'a MemoryBudget,
    bytes: u64,
}

impl MemoryBudget {
    /// A budget of `total` bytes.
    pub(super) fn new(total: u64) -> MemoryBudget {
        MemoryBudget { free: Mutex::new(total), total, changed: Condvar::new() }
    }

    /// A fraction of what this machine and its control group have free; no limit where the system does not report it.
    pub(super) fn of_this_machine() -> MemoryBudget {
        MemoryBudget::new(free_memory().map_or(u64::MAX, |free| (free.bytes as f64 * FRACTION) as u64))
    }

    /// Reserves memory; waits until the budget has room. A case that is larger than the whole budget runs alone.
    pub(super) fn reserve(&self, bytes: u64) -> Reservation<'_> {
        let bytes = bytes.min(self.total);
        let mut free = self.lock();
        while *free < bytes {
            free = self.changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= bytes;
        Reservation { budget: self, bytes }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        *self.budget.lock() += self.bytes;
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn the_budget_is_never_exceeded() {
        let budget = MemoryBudget::new(10);
        let (inside, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for i in 0..24 {
                let (budget, inside, most) = (&budget, &inside, &most);
                scope.spawn(move || {
                    let bytes = [3, 5, 7, 40][i % 4];
                    let reserved = budget.reserve(bytes);
                    let now = inside.fetch_add(bytes.min(10), Ordering::SeqCst) + bytes.min(10);
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    inside.fetch_sub(bytes.min(10), Ordering::SeqCst);
                    drop(reserved);
                });
            }
        });
        assert_eq!(*budget.lock(), 10);
        assert_eq!(most.load(Ordering::SeqCst), 10, "a case of the whole budget ran alone");
    }
}
