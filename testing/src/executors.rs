//! Executors without a thread pool.

use scanside_core::executor::Executor;

/// Starts a thread for every item.
#[derive(Clone, Copy, Debug)]
pub struct Threads(
    /// The number of workers it claims to have.
    pub usize,
);

impl Executor for Threads {
    fn workers(&self) -> usize {
        self.0
    }

    fn for_each<T: Send>(&self, items: &mut [T], work: impl Fn(usize, &mut T) + Sync) {
        std::thread::scope(|scope| {
            let work = &work;
            for (i, item) in items.iter_mut().enumerate() {
                scope.spawn(move || work(i, item));
            }
        });
    }
}

/// Runs the items from last to first on the calling thread.
#[derive(Clone, Copy, Debug)]
pub struct Backwards(
    /// The number of workers it claims to have.
    pub usize,
);

impl Executor for Backwards {
    fn workers(&self) -> usize {
        self.0
    }

    fn for_each<T: Send>(&self, items: &mut [T], work: impl Fn(usize, &mut T) + Sync) {
        for (i, item) in items.iter_mut().enumerate().rev() {
            work(i, item);
        }
    }
}
