//! The trainer's program.

use clap::{Parser, Subcommand};
use scanside::{bench, choose, interrupt};
use scanside_trainer::commands;
use std::process::ExitCode;

const EXIT_CODES: &str = "Exit codes: 0 done, 2 usage, 3 bad input, 4 bad model, 5 does not fit, 6 could not write, \
                          7 some cases failed, 130 interrupted.";

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
    /// What `measure` runs in processes of their own.
    #[command(hide = true)]
    Bench(bench::BenchArgs),
    /// What `distill --budget` runs in processes of their own.
    #[command(hide = true)]
    Choose(choose::ChooseArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = interrupt::listen().and_then(|()| match &cli.command {
        Command::Plan(args) => commands::plan::run(args),
        Command::Teacher(args) => commands::teacher::run(args),
        Command::Distill(args) => commands::distill::run(args),
        Command::Validate(args) => commands::validate::run(args),
        Command::Export(args) => commands::export::run(args),
        Command::Report(args) => commands::report::run(args),
        Command::Status(args) => commands::status::run(args),
        Command::Measure(args) => commands::measure::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Choose(args) => choose::run(args),
    });
    let exit = outcome.unwrap_or_else(|failure| {
        eprintln!("scanside-train: {failure}");
        failure.exit
    });
    ExitCode::from(exit as u8)
}
