//! The right to make an output, which one process has at a time.

use super::folder_of;
use super::scratch::{LOCK, Locked, Name, Scratch, name_of, remove_leftovers_beside, try_lock};
use crate::digest;
use crate::error::{Error, ErrorKind, OrPathError};
use std::fs::{File, OpenOptions};
use std::path::Path;

/// Locks that are tried before giving up; each but the last ended because its holder had just removed it.
const ATTEMPTS: usize = 1000;

/// Digits of a lock file's name. Names of outputs can be as long as the file system permits, so they are not part of it.
const NAME_DIGITS: usize = 24;

/// The right to make an output. It ends when this is dropped, and with the process however that ends.
#[derive(Debug)]
pub struct Claim {
    /// Locked; nothing where the file system has no locks. Then several processes may do the same work, and the output is
    /// complete all the same.
    _held: Option<(Scratch, File)>,
}

impl Claim {
    /// Takes the right to make `target`; nothing where another process has it.
    ///
    /// # Errors
    /// The target's folder cannot be made or written in.
    pub fn take(target: &Path) -> Result<Option<Claim>, Error> {
        let folder = folder_of(target);
        std::fs::create_dir_all(folder).or_cannot_write(target)?;
        remove_leftovers_beside(target);
        let name = target.file_name().unwrap_or_default();
        let digits = digest::sha256(name.as_encoded_bytes());
        let path = folder.join(format!(".{}{LOCK}", &digits[..NAME_DIGITS]));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        for _ in 0..ATTEMPTS {
            let file = options.open(&path).or_cannot_write(target)?;
            match (try_lock(&file), name_of(&file, &path)) {
                (Locked::Here, Name::Same) => {
                    return Ok(Some(Claim { _held: Some((Scratch::of_locked(path), file)) }));
                }
                (Locked::Elsewhere, _) => return Ok(None),
                (Locked::Unsupported, _) => {
                    let _ = std::fs::remove_file(&path);
                    return Ok(Some(Claim { _held: None }));
                }
                // Its holder removed it in between; the next one is another file.
                (Locked::Here, Name::Gone | Name::Other) => {}
            }
        }
        let sentence = format!("{} cannot be locked for writing {}", path.display(), target.display());
        Err(Error::new(ErrorKind::Output, sentence).about(target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_the_claim_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let long = "n".repeat(248) + ".nii.gz";
        let (a, b) = (folder.path().join("a.nii.gz"), folder.path().join(long));
        let first = Claim::take(&a).unwrap().unwrap();
        assert!(Claim::take(&a).unwrap().is_none());
        let other = Claim::take(&b).unwrap().unwrap();
        drop(first);
        let again = Claim::take(&a).unwrap().unwrap();
        drop((other, again));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// A lock file whose process is gone is nobody's.
    #[test]
    fn a_lock_that_nobody_holds_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.nii.gz");
        let claim = Claim::take(&target).unwrap().unwrap();
        let lock = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        drop(claim);
        std::fs::write(&lock, b"").unwrap();
        assert!(Claim::take(&target).unwrap().is_some());
        assert!(!lock.exists());
    }

    #[test]
    fn many_threads_do_each_output_one_at_a_time() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.nii.gz");
        let (inside, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Some(claim) = Claim::take(&target).unwrap() {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(claim);
                        }
                    }
                });
            }
        });
        assert!(taken.into_inner() > 0);
    }
}
