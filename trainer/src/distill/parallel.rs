//! Several networks at once, each on its own threads. Threads wait less for each other than if all compute one network.

use std::sync::Mutex;

/// How networks share the threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ThreadShare {
    /// Networks at a time.
    pub(super) at_once: usize,
    /// Threads of each.
    pub(super) threads: usize,
    /// Threads of work that runs alone.
    whole: usize,
}

impl ThreadShare {
    /// As many networks at a time as there are threads, and an equal share of the threads for each.
    pub(super) fn new(threads: usize, networks: usize) -> ThreadShare {
        let at_once = threads.min(networks).max(1);
        ThreadShare { at_once, threads: (threads / at_once).max(1), whole: threads }
    }

    /// libtorch uses the threads of one network from now on, because several run at a time.
    pub(super) fn split(&self) {
        if self.at_once > 1 {
            tch::set_num_threads(self.threads as i32);
        }
    }

    /// libtorch uses all threads, until the next [`ThreadShare::split`].
    pub(super) fn gather(&self) {
        if self.at_once > 1 {
            tch::set_num_threads(self.whole as i32);
        }
    }
}

/// Does `work` on every item, `at_once` at a time, beginning with the first. The results have the order of the items.
pub(super) fn each<T: Send, R: Send>(at_once: usize, items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    if at_once <= 1 || items.len() <= 1 {
        return items.into_iter().map(work).collect();
    }
    let workers = at_once.min(items.len());
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let queue = Mutex::new(items.into_iter().zip(&mut results));
    let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((item, result)) = next() {
                    *result = Some(work(item));
                }
            });
        }
    });
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_however_long_each_takes() {
        for at_once in [1, 2, 3, 8] {
            let slow_first = |i: u64| {
                std::thread::sleep(std::time::Duration::from_millis(5 * (4 - i)));
                i * i
            };
            assert_eq!(each(at_once, vec![0, 1, 2, 3], slow_first), [0, 1, 4, 9]);
        }
    }

    #[test]
    fn threads_are_shared_out() {
        let share = |threads, networks| {
            let share = ThreadShare::new(threads, networks);
            (share.at_once, share.threads)
        };
        assert_eq!(share(2, 4), (2, 1));
        assert_eq!(share(8, 3), (3, 2));
        assert_eq!((share(2, 1), share(1, 5)), ((1, 2), (1, 1)));
    }
}
