//! The options that every training has.

use crate::network::Precision;
use crate::training::settings::RunSettings;
use clap::{Args, ValueEnum};
use scanside_app::error::{Error, ErrorKind};
use scanside_app::machine::all_cores;
use scanside_core::nnunet::FoldName;
use std::path::PathBuf;
use tch::{Cuda, Device};

/// Options of a training.
#[derive(Args, Debug)]
pub struct TrainingArgs {
    /// Work folder created by `scanside-train plan`.
    #[arg(value_name = "WORK")]
    pub work: PathBuf,
    /// Fold to train: a number, or all.
    #[arg(long, default_value = "0")]
    pub fold: FoldName,
    /// Epochs of the whole run; the learning rate falls to zero over them.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub epochs: u32,
    /// Training steps per epoch.
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub iterations_per_epoch: u32,
    /// Batches of validation patches after each epoch; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub validation_iterations: u32,
    /// Patches per step; more need more memory [default: the plan's].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch_size: Option<u16>,
    /// Learning rate of the first epoch.
    #[arg(long, value_name = "RATE", default_value_t = 0.01, value_parser = positive)]
    pub learning_rate: f64,
    /// Device that computes.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// Number format of convolutions. bf16 is computed by libtorch: faster on GPUs, and for wide networks on CPUs with
    /// bfloat16 instructions.
    #[arg(long, value_enum, default_value_t = PrecisionChoice::Auto)]
    pub precision: PrecisionChoice,
    /// Threads [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Do not segment and measure the validation cases after the training, nor the speed and memory of the networks.
    #[arg(long)]
    pub no_validation: bool,
    /// Continue an interrupted training. All other options must be the same as before.
    #[arg(long)]
    pub resume: bool,
}

/// Device that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// The first GPU if libtorch supports one, otherwise the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first GPU.
    Cuda,
}

/// Number format of convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionChoice {
    /// bfloat16 on a GPU, single precision on a CPU.
    Auto,
    /// Single precision.
    F32,
    /// bfloat16.
    Bf16,
}

impl TrainingArgs {
    /// The settings asked for, with the decay `average` of averaged weights. Sets libtorch's number of threads.
    ///
    /// # Errors
    /// The device does not exist.
    pub(super) fn settings(&self, average: Option<f64>) -> Result<RunSettings, Error> {
        let threads = all_cores(self.threads);
        tch::set_num_threads(threads as i32);
        let device = device(self.device)?;
        Ok(RunSettings {
            fold: self.fold,
            epochs: self.epochs as usize,
            steps_per_epoch: self.iterations_per_epoch as usize,
            validation_steps: self.validation_iterations as usize,
            batch_size: self.batch_size.map(usize::from),
            initial_lr: self.learning_rate,
            average,
            seed: self.seed,
            device,
            autograd: false,
            precision: match self.precision {
                PrecisionChoice::Bf16 => Precision::Bf16,
                PrecisionChoice::Auto if device != Device::Cpu => Precision::Bf16,
                PrecisionChoice::Auto | PrecisionChoice::F32 => Precision::F32,
            },
            threads,
        })
    }
}

fn device(choice: DeviceChoice) -> Result<Device, Error> {
    match (choice, Cuda::is_available()) {
        (DeviceChoice::Cpu, _) | (DeviceChoice::Auto, false) => Ok(Device::Cpu),
        (_, true) => Ok(Device::Cuda(0)),
        (DeviceChoice::Cuda, false) => Err(Error::new(
            ErrorKind::Usage,
            "this libtorch supports no GPU; build with LIBTORCH set to one that does, or use --device cpu",
        )),
    }
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("expected a number above 0".into()),
    }
}

pub(super) fn decay(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(decay) if decay > 0.0 && decay < 1.0 => Ok(decay),
        _ => Err("expected a number between 0 and 1".into()),
    }
}
