//! Exit codes: a part of the program's interface, and the same as those of `scanside`.

use scanside_app::ErrorKind;

/// Why the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// A fault of the program or of the system under it.
    Internal = 1,
    /// The command line is invalid.
    Usage = 2,
    /// The dataset or the work folder has faults.
    BadInput = 3,
    /// The model has faults, or does not fit the data.
    BadModel = 4,
    /// The memory or the time allowed is too small.
    DoesNotFit = 5,
    /// The result could not be written.
    CouldNotWrite = 6,
    /// Some cases or runs of several failed.
    SomeFailed = 7,
    /// Stopped by the user.
    Interrupted = 130,
}

/// The same table for `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 internal fault, 2 usage, 3 bad input, 4 bad model, 5 does not fit, 6 \
                              could not write, 7 some cases failed, 130 interrupted.";

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Exit {
        match kind {
            ErrorKind::Usage => Exit::Usage,
            ErrorKind::Input => Exit::BadInput,
            ErrorKind::Model => Exit::BadModel,
            ErrorKind::DoesNotFit => Exit::DoesNotFit,
            ErrorKind::Output => Exit::CouldNotWrite,
            ErrorKind::Interrupted => Exit::Interrupted,
            ErrorKind::Internal => Exit::Internal,
            // Kinds that a later version of the library adds.
            _ => Exit::Internal,
        }
    }
}
