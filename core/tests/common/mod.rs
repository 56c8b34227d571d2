//! What several tests need.

use scanside_core::executor::Executor;

/// Threads that are started for each piece of work.
pub(crate) struct Threads(pub(crate) usize);

impl Executor for Threads {
    fn workers(&self) -> usize {
        self.0
    }
    fn for_each<T: Send>(&self, items: &mut [T], work: impl Fn(usize, &mut T) + Sync) {
        std::thread::scope(|s| {
            let work = &work;
            for (i, item) in items.iter_mut().enumerate() {
                s.spawn(move || work(i, item));
            }
        });
    }
}
