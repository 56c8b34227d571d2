//! The program `scanside`.

use std::process::ExitCode;

fn main() -> ExitCode {
    scanside::main()
}
