//! `scanside compile`: a model becomes one file that programs read in place, without std and without a graph library.

use crate::args::CompileArgs;
use crate::exit::{Exit, Failure, OrExit};
use crate::model::{self, How, Opened};
use crate::output::PendingFile;
use crate::progress::human_bytes;
use scanside_core::network::write_image;
use std::io::Write;

pub(crate) fn run(args: &CompileArgs) -> Result<Exit, Failure> {
    if args.output.exists() && !args.overwrite {
        return Err(Failure::says(
            Exit::CouldNotWrite,
            format!("{} is there already; --overwrite replaces it", args.output.display()),
        ));
    }
    let how = How {
        manifest: args.manifest.as_deref(),
        folds: &args.folds,
        checkpoint: &args.checkpoint,
        precision: args.precision,
        ..How::default()
    };
    if model::is_compiled(&args.model) {
        return Err(Failure::says(Exit::BadModel, format!("{} is compiled already", args.model.display())));
    }
    let Opened { manifest, engine, .. } = model::open(&args.model, &how)?;
    let Some(native) = engine.native() else {
        let why = engine.not_lowered().unwrap_or("it has no folds");
        return Err(Failure::says(Exit::BadModel, format!("{} cannot be compiled: {why}", args.model.display())));
    };
    let folds: Vec<_> = native.networks().iter().map(|n| (n.graph(), n.weights())).collect();
    let json = serde_json::to_string(&manifest).or_exit(Exit::BadModel)?;
    let bytes = write_image(&json, &folds).or_exit(Exit::BadModel)?;
    let mut file = PendingFile::create(&args.output)?;
    file.write_all(&bytes)
        .or_exit_with(Exit::CouldNotWrite, || format!("{} cannot be written", args.output.display()))?;
    file.publish()?;
    say!(
        "{}: {} ({} fold(s), {}, {})",
        args.output.display(),
        manifest.name,
        manifest.folds,
        model::precision_name(args.precision, &engine),
        human_bytes(bytes.len())
    );
    for name in engine.float_convolutions() {
        eprintln!("scanside: the file quantises {name}, which runs in floats");
    }
    Ok(Exit::Done)
}
