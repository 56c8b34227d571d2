//! Exit codes: a part of the program's interface.

use scanside_app::ErrorKind;

/// Why the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Done = 0,
    /// A fault of the program or of the system under it.
    Internal = 1,
    /// The command line does not make sense.
    Usage = 2,
    /// The scan or a label file is not what it should be.
    BadInput = 3,
    /// The model is not what it should be.
    BadModel = 4,
    /// The memory or the time allowed is too small.
    DoesNotFit = 5,
    /// The result could not be written.
    CouldNotWrite = 6,
    /// Some cases of several failed.
    SomeFailed = 7,
    /// Stopped by the user.
    Interrupted = 130,
}

/// The same table for `--help`.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 done, 1 internal fault, 2 usage, 3 bad input, 4 bad model, 5 does not \
                                     fit, 6 could not write, 7 some cases failed, 130 interrupted.";

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
            // Kinds that a newer library has.
            _ => Exit::Internal,
        }
    }
}
