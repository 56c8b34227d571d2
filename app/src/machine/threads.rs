//! The core's work items on rayon's threads.

use crate::error::{Error, ErrorKind, OrError};
use rayon::prelude::*;
use scanside_core::executor::Executor;

/// A pool of worker threads; one worker means the calling thread alone.
#[derive(Debug)]
pub struct Threads {
    pool: Option<rayon::ThreadPool>,
}

impl Threads {
    /// Starts `workers` threads.
    ///
    /// # Errors
    /// The system has no room for them.
    pub fn new(workers: usize) -> Result<Self, Error> {
        if workers <= 1 {
            return Ok(Threads { pool: None });
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(workers)
            .build()
            .or_error_with(ErrorKind::DoesNotFit, || format!("{workers} threads could not be started"))?;
        Ok(Threads { pool: Some(pool) })
    }

    /// Changes the number of threads; the same number keeps those that there are.
    ///
    /// # Errors
    /// As for [`Threads::new`].
    pub fn resize(&mut self, workers: usize) -> Result<(), Error> {
        if self.workers() != workers.max(1) {
            // The old threads end before new ones take memory.
            self.pool = None;
            *self = Threads::new(workers)?;
        }
        Ok(())
    }
}

impl Executor for Threads {
    fn workers(&self) -> usize {
        self.pool.as_ref().map_or(1, rayon::ThreadPool::current_num_threads)
    }

    fn for_each<T: Send>(&self, items: &mut [T], work: impl Fn(usize, &mut T) + Sync) {
        match &self.pool {
            Some(pool) => {
                pool.install(|| items.par_iter_mut().enumerate().with_max_len(1).for_each(|(i, item)| work(i, item)))
            }
            None => items.iter_mut().enumerate().for_each(|(i, item)| work(i, item)),
        }
    }
}

/// As many threads as were asked for; without a number, one for every core that this process may use.
pub fn all_cores(asked: Option<u16>) -> usize {
    asked.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}
