//! The trainer's program.

use clap::{Parser, Subcommand};
use scanside_app::worker;
use scanside_trainer::exit::{EXIT_CODES, Exit};
use scanside_trainer::{commands, stop};
use std::process::ExitCode;

/// Trains nnU-Net networks and hands them on. Research software, not for diagnosis.
#[derive(Debug, Parser)]
#[command(name = "scanside-train", version, after_help = EXIT_CODES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Plan(commands::plan::PlanArgs),
    Teacher(commands::teacher::TeacherArgs),
    Distill(commands::distill::DistillArgs),
    /// Segment the cases that a fold holds back with a trained network, and measure them.
    Validate(commands::validate::ValidateArgs),
    /// Measure the speed and memory of trained networks on this machine.
    Measure(commands::measure::MeasureArgs),
    /// Write a trained network as ONNX, as an nnU-Net folder, or as safetensors.
    Export(commands::export::ExportArgs),
    /// Compare the validated runs of a work folder with their teacher: a page, and JSON.
    Report(commands::report::ReportArgs),
    /// Say what has run in a work folder, and how it went.
    Status(commands::status::StatusArgs),
    /// One job for another process of this project.
    #[command(hide = true)]
    Worker,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = stop::on_signals(Exit::Interrupted as i32).and_then(|()| match &cli.command {
        Command::Plan(args) => commands::plan::run(args),
        Command::Teacher(args) => commands::teacher::run(args),
        Command::Distill(args) => commands::distill::run(args),
        Command::Validate(args) => commands::validate::run(args),
        Command::Export(args) => commands::export::run(args),
        Command::Report(args) => commands::report::run(args),
        Command::Status(args) => commands::status::run(args),
        Command::Measure(args) => commands::measure::run(args),
        Command::Worker => worker::serve(std::io::stdin().lock(), std::io::stdout().lock()).map(|()| Exit::Done),
    });
    let exit = outcome.unwrap_or_else(|error| {
        eprintln!("scanside-train: {}", error.chain());
        Exit::from(error.kind())
    });
    ExitCode::from(exit as u8)
}
