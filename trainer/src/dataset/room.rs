//! How many cases fit into memory at a time.
//!
//! Threads beyond what memory holds would end the program; so every case waits until there is room for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Of the memory that is free when work begins, this much is used.
const SHARE: f64 = 0.7;

/// Bytes that cases may take together.
#[derive(Debug)]
pub(super) struct Room {
    free: Mutex<u64>,
    total: u64,
    changed: Condvar,
}

/// Bytes that a case takes until this is dropped.
pub(super) struct Taken<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Room {
    /// Room for `total` bytes.
    pub(super) fn new(total: u64) -> Room {
        Room { free: Mutex::new(total), total, changed: Condvar::new() }
    }

    /// What this machine has to spare, or no limit where it does not say.
    pub(super) fn of_this_machine() -> Room {
        let free = [free_memory(), free_of_group()].into_iter().flatten().min();
        Room::new(free.map_or(u64::MAX, |bytes| (bytes as f64 * SHARE) as u64))
    }

    /// Waits until there is room. A case that is larger than all of it is let in alone.
    pub(super) fn take(&self, bytes: u64) -> Taken<'_> {
        let bytes = bytes.min(self.total);
        let mut free = self.lock();
        while *free < bytes {
            free = self.changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= bytes;
        Taken { room: self, bytes }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.room.lock() += self.bytes;
        self.room.changed.notify_all();
    }
}

/// Linux tells what can be taken without swapping.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// What a container may still take: files that are only cached do not count, they give way.
fn free_of_group() -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let cached = |text: String| {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.filter(|(name, _)| name.ends_with("active_file")).filter_map(|(_, bytes)| bytes.parse::<u64>().ok()).sum()
    };
    let cached: u64 = read("stat").map_or(0, cached);
    Some(number("max")?.saturating_sub(number("current")?.saturating_sub(cached)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn never_more_than_there_is_room_for() {
        let room = Room::new(10);
        let (inside, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for i in 0..24 {
                let (room, inside, most) = (&room, &inside, &most);
                scope.spawn(move || {
                    let bytes = [3, 5, 7, 40][i % 4];
                    let taken = room.take(bytes);
                    let now = inside.fetch_add(bytes.min(10), Ordering::SeqCst) + bytes.min(10);
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    inside.fetch_sub(bytes.min(10), Ordering::SeqCst);
                    drop(taken);
                });
            }
        });
        assert_eq!(*room.lock(), 10);
        assert_eq!(most.load(Ordering::SeqCst), 10, "a case of all the room was let in alone");
    }
}
