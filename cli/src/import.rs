//! `scanside import`: an nnU-Net v2 model folder becomes one self-describing ONNX file.

use crate::args::ImportArgs;
use crate::exit::{Exit, Failure, OrExit};
use crate::model::import_options;
use crate::output::PendingFile;
use crate::progress::human_bytes;
use scanside_core::{nnunet, onnx};

pub(crate) fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    if args.output.exists() && !args.overwrite {
        return Err(Failure::says(
            Exit::CouldNotWrite,
            format!("{} is there already; --overwrite replaces it", args.output.display()),
        ));
    }
    let options = import_options(&args.folds, &args.checkpoint)?;
    let (manifest, mut proto) = nnunet::import_folder(&args.folder, &options).or_exit(Exit::BadModel)?;
    onnx::embed(&mut proto, &manifest).or_exit(Exit::BadModel)?;
    let cannot = || format!("{} cannot be written", args.output.display());
    let mut file = PendingFile::create(&args.output)?;
    onnx::write_model(&mut file, &proto).or_exit_with(Exit::CouldNotWrite, cannot)?;
    file.publish()?;
    let bytes = std::fs::metadata(&args.output).map_or(0, |m| m.len() as usize);
    say!(
        "{}: {} ({} fold(s), {} labels, {})",
        args.output.display(),
        manifest.name,
        manifest.folds,
        manifest.labels.heads().len(),
        human_bytes(bytes)
    );
    Ok(Exit::Done)
}
