//! `scanside compile`: a model becomes one file that programs read in place, without std and without a graph library.

use crate::args::CompileArgs;
use crate::exit::Exit;
use crate::print::{self, note, say};
use scanside_app::model::{self, ModelOptions};
use scanside_app::{Error, units::human_bytes};

pub(crate) fn run(args: &CompileArgs) -> Result<Exit, Error> {
    let options =
        ModelOptions { manifest: args.manifest.clone(), precision: args.precision.into(), ..args.parts.options() };
    let written = model::compile(&args.model, &options, &args.output, args.overwrite)?;
    print::folds(&args.model, written.folds.as_ref());
    say!(
        "{}: {} ({} fold(s), {}, {})",
        args.output.display(),
        written.manifest.name,
        written.manifest.folds,
        written.precision.unwrap_or_default(),
        human_bytes(written.bytes)
    )?;
    for name in &written.float_convolutions {
        note!("scanside: warning: the model quantises {name}, which runs in floating point");
    }
    Ok(Exit::Done)
}
