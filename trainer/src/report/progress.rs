//! The progress of a run, for its page and for `scanside-train status`.

use super::log::EpochRecord;
use super::run::{RunFacts, RunFolder};
use std::time::{Duration, SystemTime};

/// The remaining time is estimated from this many epochs.
const RECENT: usize = 20;
/// A run that has written nothing for this many times the duration of an epoch has stopped.
const SILENCE: f64 = 5.0;

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All epochs are done.
    Finished,
    /// The network was trained by another program and imported.
    Imported,
    /// Its last epoch was written recently.
    Running,
    /// Nothing was written for a long time: it was stopped, and can be resumed.
    Stopped,
    /// No epoch is completed yet.
    Started,
}

/// The progress of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Its state.
    pub state: State,
    /// Completed epochs.
    pub done: usize,
    /// Epochs of the whole run.
    pub epochs: usize,
    /// The best smoothed Dice and its epoch.
    pub best: Option<(f64, usize)>,
    /// The last smoothed Dice.
    pub last: Option<f64>,
    /// Seconds spent in epochs.
    pub spent_seconds: f64,
    /// Seconds for the remaining epochs, if they take as long as the last ones.
    pub left_seconds: Option<f64>,
}

impl State {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            State::Finished => "finished",
            State::Imported => "imported",
            State::Running => "running",
            State::Stopped => "stopped",
            State::Started => "started",
        }
    }
}

impl Progress {
    /// Reads the progress of a run from its files.
    pub fn of(run: &RunFolder, facts: &RunFacts, log: &[EpochRecord]) -> Progress {
        let silence = std::fs::metadata(run.log())
            .and_then(|m| m.modified())
            .ok()
            .and_then(|written| SystemTime::now().duration_since(written).ok())
            .unwrap_or(Duration::ZERO);
        Progress::estimate(facts, log, run.last().is_file(), silence)
    }

    fn estimate(facts: &RunFacts, log: &[EpochRecord], final_checkpoint: bool, silence: Duration) -> Progress {
        let done = log.last().map_or(0, |record| record.epoch + 1);
        let recent = &log[log.len().saturating_sub(RECENT)..];
        let per_epoch = recent.iter().map(|r| r.seconds).sum::<f64>() / recent.len().max(1) as f64;
        let left = facts.epochs.saturating_sub(done);
        let state = match (final_checkpoint, log.is_empty()) {
            _ if facts.epochs == 0 => State::Imported,
            (true, _) => State::Finished,
            (false, true) => State::Started,
            // One more minute, for the checkpoint and for very short epochs.
            (false, false) if silence.as_secs_f64() > SILENCE * per_epoch + 60.0 => State::Stopped,
            (false, false) => State::Running,
        };
        let scored = log.iter().filter_map(|r| Some((r.ema_dice?, r.epoch)));
        Progress {
            state,
            done,
            epochs: facts.epochs,
            // The earliest of equals.
            best: scored.reduce(|best, next| if next.0 > best.0 { next } else { best }),
            last: log.iter().rev().find_map(|r| r.ema_dice),
            spent_seconds: log.iter().map(|r| r.seconds).sum(),
            left_seconds: (state != State::Finished && left > 0 && !recent.is_empty())
                .then_some(per_epoch * left as f64),
        }
    }
}

/// A duration for people, in its two largest units.
pub fn human_duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds:02} s"),
        (0, _, _) => format!("{hours} h {minutes:02} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn facts(epochs: usize) -> RunFacts {
        RunFacts {
            format: super::super::run::FORMAT,
            name: "teacher".into(),
            started_unix: 0,
            dataset: "Dataset004_Hippocampus".into(),
            plans: "nnUNetPlans".into(),
            configuration: "3d_fullres".into(),
            plans_sha256: "00".into(),
            fold: "0".into(),
            training_cases: vec!["a".into(), "b".into()],
            validation_cases: vec!["c".into()],
            classes: vec!["anterior".into(), "posterior".into()],
            features_per_stage: vec![32, 64],
            parameters: 7,
            mirror_axes: vec![0, 1, 2],
            patch_zyx: [40, 56, 40],
            batch_size: 9,
            steps_per_epoch: 250,
            epochs,
            initial_lr: 0.01,
            seed: 0,
            device: "cpu".into(),
            notes: Default::default(),
        }
    }

    pub(in super::super) fn record(epoch: usize, ema: f64) -> EpochRecord {
        EpochRecord {
            epoch,
            lr: 0.01,
            loss: -0.5,
            val_loss: Some(-0.4),
            pseudo_dice: vec![Some(0.8), None],
            ema_dice: Some(ema),
            samples: 500,
            seconds: 10.0,
            wait_seconds: 0.5,
            teacher_passes: 0,
            terms: Default::default(),
            term_gradients: Default::default(),
        }
    }

    #[test]
    fn the_state_follows_from_the_files() {
        let facts = facts(10);
        let log = [record(0, 0.5), record(1, 0.7), record(2, 0.6), record(3, 0.7)];
        let estimate =
            |log: &[EpochRecord], last, silence| Progress::estimate(&facts, log, last, Duration::from_secs(silence));
        let running = estimate(&log, false, 100);
        assert_eq!(
            (running.state, running.done, running.best, running.last),
            (State::Running, 4, Some((0.7, 1)), Some(0.7))
        );
        assert_eq!((running.spent_seconds, running.left_seconds), (40.0, Some(60.0)));
        assert_eq!(estimate(&log, false, 111).state, State::Stopped);
        assert_eq!(estimate(&log, true, 111).state, State::Finished);
        assert_eq!(estimate(&log, true, 111).left_seconds, None);
        assert_eq!(estimate(&[], false, 9999).state, State::Started);
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(human_duration(59.4), "59 s");
        assert_eq!(human_duration(61.0), "1 min 01 s");
        assert_eq!(human_duration(7_500.0), "2 h 05 min");
        assert_eq!(human_duration(200_000.0), "2 d 7 h");
    }
}
