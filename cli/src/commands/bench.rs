//! `scanside bench`: seconds and memory per patch, on this machine.

use crate::args::BenchArgs;
use crate::exit::Exit;
use crate::print::say;
use scanside_app::measure::{self, MeasureOptions, Measured};
use scanside_app::model::ModelOptions;
use scanside_app::units::human_seconds;
use scanside_app::worker::Worker;
use scanside_app::{Error, ErrorKind};

pub(crate) fn run(args: &BenchArgs) -> Result<Exit, Error> {
    if let Some(missing) = args.model.iter().find(|model| !model.exists()) {
        return Err(Error::missing(ErrorKind::Model, missing));
    }
    if args.manifest.is_some() && args.model.len() > 1 {
        return Err(Error::new(ErrorKind::Usage, "--manifest describes one model; measure it by itself"));
    }
    let options = MeasureOptions {
        threads: args.threads,
        runs: args.runs,
        model: ModelOptions {
            manifest: args.manifest.clone(),
            engine: args.engine.into(),
            precision: args.precision.into(),
            instructions: args.instructions.clone(),
            ..args.parts.options()
        },
        least_memory: args.least_memory,
        layers: args.layers,
        volume: args.volume,
    };
    if !args.json {
        say!("{}", measure::header())?;
    }
    for model in &args.model {
        // Each of several models in a process of its own: memory that one took does not count for the next.
        let measured = if args.model.len() > 1 {
            Worker::this_program()?.measure(model, &options)?
        } else {
            measure::measure(model, &options)?
        };
        if args.json {
            say!("{}", serde_json::to_string(&measured).map_err(|e| Error::of(ErrorKind::Internal, e))?)?;
        } else {
            print_measured(&measured)?;
        }
    }
    Ok(Exit::Done)
}

fn print_measured(m: &Measured) -> Result<(), Error> {
    say!("{}", m.line())?;
    if let Some(scan) = &m.whole_scan {
        let time = human_seconds(scan.network_seconds);
        say!("  {}: {} window(s), {} pass(es) of the network, {time}", scan.volume, scan.windows, scan.passes)?;
    }
    if m.layers.is_empty() {
        return Ok(());
    }
    say!(
        "  {} on {} thread(s), {}; percentages are of this machine's limits, which were measured just now",
        m.precision,
        m.threads,
        m.instructions
    )?;
    say!("  {:<36} {:>9} {:>8} {:>9} {:>11} {:>9}", "step", "ms", "GMAC", "MB", "arithmetic", "memory")?;
    for l in &m.layers {
        say!(
            "  {:<36} {:>9.3} {:>8.3} {:>9.2} {:>9.0} % {:>7.0} %",
            l.name,
            1e3 * l.seconds,
            l.gmac,
            l.megabytes,
            100.0 * l.arithmetic,
            100.0 * l.memory
        )?;
    }
    Ok(())
}
