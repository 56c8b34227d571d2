//! `scanside worker`: one job of another process of this project, not for people.

use crate::exit::Exit;
use scanside_app::{Error, worker};

pub(crate) fn run() -> Result<Exit, Error> {
    worker::serve(std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(Exit::Done)
}
