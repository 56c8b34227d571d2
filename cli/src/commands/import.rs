//! `scanside import`: an nnU-Net v2 model folder becomes one self-describing ONNX file.

use crate::args::ImportArgs;
use crate::exit::Exit;
use crate::print::{self, say};
use scanside_app::units::human_bytes;
use scanside_app::{Error, model};

pub(crate) fn run(args: &ImportArgs) -> Result<Exit, Error> {
    let written = model::import(&args.folder, &args.parts.options(), &args.output, args.overwrite)?;
    print::folds(&args.folder, written.folds.as_ref());
    let manifest = &written.manifest;
    say!(
        "{}: {} ({} fold(s), {} labels, {})",
        args.output.display(),
        manifest.name,
        manifest.folds,
        manifest.labels.heads().len(),
        human_bytes(written.bytes)
    )?;
    Ok(Exit::Done)
}
