//! Memory of this process, and what this machine and its control groups have free.

use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Resident memory now, and the most it ever was (or since [`reset_peak`]), in bytes; `None` where the system does not
/// report it.
pub fn resident_bytes() -> Option<(usize, usize)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some((kibibytes(&status, "VmRSS:")?, kibibytes(&status, "VmHWM:")?))
}

/// Starts counting the most resident memory anew, so that [`resident_bytes`] gives the peak of what follows. Where the
/// system cannot do that, the peak stays that of the whole process.
pub fn reset_peak() {
    const RESET_PEAK: &[u8] = b"5";
    // Only Linux has the file; a peak that is too high is still a bound.
    let _ = fs::write("/proc/self/clear_refs", RESET_PEAK);
}

/// What limits the memory of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryLimit {
    /// The limit that the user gave.
    Given,
    /// The memory that the machine has free.
    Machine,
    /// The limit of the control group (of a container, a service or a batch job) that the process is in.
    ControlGroup,
}

impl MemoryLimit {
    /// The same in one word, for tables.
    pub(crate) fn short(self) -> &'static str {
        match self {
            MemoryLimit::Given => "allowed",
            MemoryLimit::Machine | MemoryLimit::ControlGroup => "free",
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MemoryLimit::Given => "allowed",
            MemoryLimit::Machine => "free on this machine",
            MemoryLimit::ControlGroup => "free in the control group of this process",
        })
    }
}

/// Bytes that this process can still take, and what limits them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeMemory {
    /// Bytes beyond what the process has now. The system's file caches count as free: it drops them where memory is needed.
    pub bytes: usize,
    /// What limits them.
    pub limit: MemoryLimit,
}

/// The least of what this machine and the control groups of this process have free; `None` where the system does not
/// report it.
pub fn free_memory() -> Option<FreeMemory> {
    free_below(Path::new("/"))
}

/// The same, with the system's files below `root`.
fn free_below(root: &Path) -> Option<FreeMemory> {
    let memory = fs::read_to_string(root.join("proc/meminfo")).ok();
    let machine = memory.and_then(|text| kibibytes(&text, "MemAvailable:"));
    let groups = groups_of_process(root).into_iter().filter_map(|group| group.free());
    let group = groups.min().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let candidates = [(machine, MemoryLimit::Machine), (group, MemoryLimit::ControlGroup)];
    let free = candidates.into_iter().filter_map(|(bytes, limit)| Some(FreeMemory { bytes: bytes?, limit }));
    free.min_by_key(|free| free.bytes)
}

/// A control group: its folder, and the names of its files.
struct Group {
    folder: PathBuf,
    files: GroupFiles,
}

#[derive(Clone, Copy)]
struct GroupFiles {
    limit: &'static str,
    used: &'static str,
    /// Entries of `memory.stat` that count cached files.
    cached: [&'static str; 2],
}

const VERSION_1: GroupFiles = GroupFiles {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: ["total_inactive_file", "total_active_file"],
};
const VERSION_2: GroupFiles =
    GroupFiles { limit: "memory.max", used: "memory.current", cached: ["inactive_file", "active_file"] };

/// The control groups that limit this process: its own and all around it.
fn groups_of_process(root: &Path) -> Vec<Group> {
    let list = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut groups = Vec::new();
    for line in list.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (mount, files) = match controllers {
            "" => ("sys/fs/cgroup", VERSION_2),
            list if list.split(',').any(|name| name == "memory") => ("sys/fs/cgroup/memory", VERSION_1),
            _ => continue,
        };
        // In a container the path may be the host's while the container's group is mounted as the root, which is the last
        // of the ancestors.
        for path in Path::new(path.trim_start_matches('/')).ancestors() {
            groups.push(Group { folder: root.join(mount).join(path), files });
        }
    }
    groups
}

impl Group {
    /// Bytes that its processes may still take; `None` where it has no limit.
    fn free(&self) -> Option<u64> {
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        // "max" in version 2 is no number; version 1 has a number near the largest instead.
        let limit = number(self.files.limit).filter(|&limit| limit < 1 << 60)?;
        let stat = read("memory.stat").unwrap_or_default();
        let entries = stat.lines().filter_map(|line| line.split_once(' '));
        let cached = entries.filter(|(name, _)| self.files.cached.contains(name));
        let cached: u64 = cached.filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok()).sum();
        Some(limit.saturating_sub(number(self.files.used)?.saturating_sub(cached)))
    }
}

/// The value of a line such as `VmRSS:   1234 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<usize> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The process's memory while it holds nothing but a model, where the system does not report it.
pub const TYPICAL_PROCESS_BYTES: usize = 64 << 20;

/// What two processes that hold the same model differ by: where pages fall, and what the system maps of the program.
/// Runs of one model were seen to differ by half of it.
pub const BETWEEN_PROCESSES_BYTES: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up system: files by path.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, text).expect("a file");
        }
        root
    }

    const MEMORY: (&str, &str) = ("proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable:    8000000 kB\n");

    fn free(files: &[(&str, &str)]) -> Option<(usize, MemoryLimit)> {
        free_below(system(files).path()).map(|free| (free.bytes, free.limit))
    }

    #[test]
    fn the_machine_limits_where_no_group_does() {
        assert_eq!(free(&[]), None);
        assert_eq!(free(&[MEMORY]), Some((8_192_000_000, MemoryLimit::Machine)));
        let unlimited = [MEMORY, ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "max\n")];
        assert_eq!(free(&unlimited), Some((8_192_000_000, MemoryLimit::Machine)));
    }

    #[test]
    fn a_group_counts_without_its_cached_files_and_so_do_those_around_it() {
        let stat = "anon 1\ninactive_file 100\nactive_file 50\nslab 7\n";
        let inner = [
            MEMORY,
            ("proc/self/cgroup", "0::/jobs/one\n"),
            ("sys/fs/cgroup/jobs/one/memory.max", "1000\n"),
            ("sys/fs/cgroup/jobs/one/memory.current", "600\n"),
            ("sys/fs/cgroup/jobs/one/memory.stat", stat),
        ];
        assert_eq!(free(&inner), Some((550, MemoryLimit::ControlGroup)));
        let mut outer = inner.to_vec();
        outer.push(("sys/fs/cgroup/jobs/memory.max", "2000\n"));
        outer.push(("sys/fs/cgroup/jobs/memory.current", "1990\n"));
        assert_eq!(free(&outer), Some((10, MemoryLimit::ControlGroup)));
    }

    #[test]
    fn groups_of_version_1_are_read_too() {
        let files = [
            MEMORY,
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n"),
            // As in a container, whose own group is mounted as the root.
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "5000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "4500\n"),
            ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 200\ninactive_file 9\n"),
        ];
        assert_eq!(free(&files), Some((700, MemoryLimit::ControlGroup)));
        let mut unlimited = files;
        unlimited[2].1 = "9223372036854771712\n";
        assert_eq!(free(&unlimited), Some((8_192_000_000, MemoryLimit::Machine)));
    }
}
