//! `scanside compile`: a model becomes one file that programs read in place, without std and without a graph library.

use crate::args::CompileArgs;
use crate::exit::{Exit, Failure, OrExit};
use crate::model;
use crate::output::PendingFile;
use crate::progress::human_bytes;
use scanside_core::network::write_image;
use scanside_core::onnx::OnnxEngine;
use std::io::Write;

pub(crate) fn run(args: &CompileArgs) -> Result<Exit, Failure> {
    if args.output.exists() && !args.overwrite {
        return Err(Failure::says(
            Exit::CouldNotWrite,
            format!("{} is there already; --overwrite replaces it", args.output.display()),
        ));
    }
    let (manifest, proto) = model::read(&args.model, args.manifest.as_deref(), &args.folds, &args.checkpoint)?;
    let engine = OnnxEngine::new(&proto, &manifest, model::settings(args.precision))
        .or_exit_with(Exit::BadModel, || format!("{} cannot be compiled", args.model.display()))?;
    drop(proto);
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
