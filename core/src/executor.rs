//! The interface through which a caller provides threads.
//!
//! The core never starts a thread. Work that may run side by side is handed over as a slice of independent items; each
//! item is changed by one call only, so the result is the same whoever runs it and in whatever order.

/// Runs independent work items, on threads of the caller's choosing.
pub trait Executor: Sync {
    /// How many items run side by side at most; at least 1.
    fn workers(&self) -> usize;

    /// Calls `work(index, item)` once for every item and returns when all are done.
    fn for_each<T: Send>(&self, items: &mut [T], work: impl Fn(usize, &mut T) + Sync);
}

/// Runs everything on the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Executor for Serial {
    fn workers(&self) -> usize {
        1
    }

    fn for_each<T: Send>(&self, items: &mut [T], work: impl Fn(usize, &mut T) + Sync) {
        for (index, item) in items.iter_mut().enumerate() {
            work(index, item);
        }
    }
}
