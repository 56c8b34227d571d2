//! Exit codes, and errors that carry theirs.

use std::fmt;

/// Why the program ends; the number is part of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done.
    Done = 0,
    /// The command line does not make sense.
    Usage = 2,
    /// The scan or a label file is not what it should be.
    BadInput = 3,
    /// The model is not what it should be.
    BadModel = 4,
    /// The budget of memory or time is too small.
    DoesNotFit = 5,
    /// The result could not be written.
    CouldNotWrite = 6,
    /// Some cases of several failed.
    SomeFailed = 7,
    /// Stopped by the user.
    Interrupted = 130,
}

impl Exit {
    /// The reason that a process of this project gave with its exit code, if it is one.
    pub(crate) fn of_code(code: i32) -> Option<Exit> {
        let all = [
            Exit::Done,
            Exit::Usage,
            Exit::BadInput,
            Exit::BadModel,
            Exit::DoesNotFit,
            Exit::CouldNotWrite,
            Exit::SomeFailed,
            Exit::Interrupted,
        ];
        all.into_iter().find(|exit| *exit as i32 == code)
    }
}

/// An error and the code the program ends with because of it.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What went wrong, for people.
    pub error: anyhow::Error,
}

impl Failure {
    /// An error with its code.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Failure { exit, error: error.into() }
    }

    /// A sentence with its code.
    pub fn says(exit: Exit, sentence: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Failure { exit, error: anyhow::Error::msg(sentence) }
    }
}

impl fmt::Display for Failure {
    /// The error and what it came from, each told once: many errors repeat their source in their own sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.error.to_string();
        write!(f, "{told}")?;
        for cause in self.error.chain().skip(1) {
            let sentence = cause.to_string();
            if !told.contains(&sentence) {
                write!(f, ": {sentence}")?;
                told.push_str(&sentence);
            }
        }
        Ok(())
    }
}

/// Gives an error its exit code.
pub trait OrExit<T> {
    /// The code, with the error's own words.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;

    /// The code, with words put before the error's own.
    fn or_exit_with<D: fmt::Display + Send + Sync + 'static>(
        self,
        exit: Exit,
        context: impl FnOnce() -> D,
    ) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|e| Failure::new(exit, e))
    }

    fn or_exit_with<D: fmt::Display + Send + Sync + 'static>(
        self,
        exit: Exit,
        context: impl FnOnce() -> D,
    ) -> Result<T, Failure> {
        self.map_err(|e| Failure { exit, error: e.into().context(context()) })
    }
}
