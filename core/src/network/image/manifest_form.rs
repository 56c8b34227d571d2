//! The manifest in bytes that a program without std reads: a run of records.
//!
//! Each record is a number, the length of what follows, and the value in the postcard encoding. Numbers below
//! [`OPTIONAL`] are facts that labels depend on: a reader that does not know one must refuse the file. Others may be
//! skipped. A key that is missing has the value that it has in JSON. Within a value nothing is ever added: a change of
//! its form is a record of another number. `docs/file-format.md` lists all of them.

use super::ImageError;
use crate::manifest::{
    Card, Channel, Envelope, FamilyMember, Label, LabelVolume, Labels, Manifest, Measurement, NetworkGrid,
    Normalization, Resampling,
};
use crate::volume::Reader;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

const FORMAT: u32 = 1;
const NAME: u32 = 2;
const GRID: u32 = 3;
const CHANNELS: u32 = 4;
const CROP_TO_NONZERO: u32 = 5;
const RESAMPLE_DATA: u32 = 6;
const RESAMPLE_LOGITS: u32 = 7;
const LABELS: u32 = 8;
const FOLDS: u32 = 9;
const MIRROR_AXES: u32 = 10;
/// Only written where it is not the default, so that older programs read every other file.
const READER: u32 = 11;
/// Only written where it is true, so that older programs read every other file.
const PROBABILITIES: u32 = 12;
/// Where numbers begin that labels do not depend on.
const OPTIONAL: u32 = 64;
const PROVENANCE: u32 = 64;
const ACCURACY: u32 = 65;
const MEASURED: u32 = 66;
const FAMILY: u32 = 67;
const GRAPH_SHA256: u32 = 68;
const ENVELOPE: u32 = 69;
const CARD: u32 = 70;

// The forms name each field in the order in which it is written; a field or variant that is missing here does not
// compile.

#[derive(Serialize, Deserialize)]
#[serde(remote = "NetworkGrid")]
struct GridForm {
    patch_zyx: [usize; 3],
    two_dimensional: bool,
    spacing_mm: [Option<f64>; 3],
    transpose_forward: [usize; 3],
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Normalization")]
enum NormalizationForm {
    ZScore { masked: bool },
    Ct { mean: f32, std: f32, lower: f32, upper: f32 },
    None,
    RescaleTo01,
    RgbTo01,
    PercentileTo01 { lower_percent: f64, upper_percent: f64 },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Channel")]
struct ChannelForm {
    name: String,
    #[serde(with = "NormalizationForm")]
    normalization: Normalization,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Resampling")]
enum ResamplingForm {
    Spline { order: u8, order_z: u8, force_separate_z: Option<bool> },
    Torch { force_separate_z: Option<bool> },
    Keep,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Label")]
struct LabelForm {
    name: String,
    value: u16,
    snomed: Option<String>,
    rgb: Option<[u8; 3]>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Measurement")]
struct MeasurementForm {
    machine: String,
    threads: usize,
    instructions: String,
    precision: String,
    seconds_per_window: f64,
    peak_rss_bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "FamilyMember")]
struct FamilyMemberForm {
    name: String,
    mean_dice: f64,
    seconds_per_window: f64,
    peak_rss_bytes: u64,
    graph_sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "LabelVolume")]
struct LabelVolumeForm {
    value: u16,
    ml: [f64; 2],
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Card")]
struct CardForm {
    intended_use: String,
    limits: String,
    data: String,
    licence: String,
}

/// The envelope, whose list of volumes has a form of its own.
#[derive(Serialize, Deserialize)]
struct WrittenEnvelope {
    voxels_zyx: Option<[[usize; 2]; 3]>,
    spacing_mm_zyx: Option<[[f64; 2]; 3]>,
    extent_mm_zyx: Option<[[f64; 2]; 3]>,
    intensities: Vec<[f64; 2]>,
    foreground_intensities: Vec<[f64; 2]>,
    label_volumes: Vec<WrittenVolume>,
}

impl From<Envelope> for WrittenEnvelope {
    fn from(envelope: Envelope) -> WrittenEnvelope {
        let Envelope { voxels_zyx, spacing_mm_zyx, extent_mm_zyx, intensities, foreground_intensities, label_volumes } =
            envelope;
        let label_volumes = label_volumes.into_iter().map(WrittenVolume).collect();
        WrittenEnvelope {
            voxels_zyx,
            spacing_mm_zyx,
            extent_mm_zyx,
            intensities,
            foreground_intensities,
            label_volumes,
        }
    }
}

impl From<WrittenEnvelope> for Envelope {
    fn from(written: WrittenEnvelope) -> Envelope {
        Envelope {
            voxels_zyx: written.voxels_zyx,
            spacing_mm_zyx: written.spacing_mm_zyx,
            extent_mm_zyx: written.extent_mm_zyx,
            intensities: written.intensities,
            foreground_intensities: written.foreground_intensities,
            label_volumes: written.label_volumes.into_iter().map(|volume| volume.0).collect(),
        }
    }
}

/// A value in the form that is written for it.
macro_rules! written_as {
    ($($written:ident: $of:ty as $form:literal),*) => {
        $(#[derive(Serialize, Deserialize)]
        struct $written(#[serde(with = $form)] $of);)*
    };
}
written_as!(
    WrittenGrid: NetworkGrid as "GridForm",
    WrittenChannel: Channel as "ChannelForm",
    WrittenResampling: Resampling as "ResamplingForm",
    WrittenLabel: Label as "LabelForm",
    WrittenMeasurement: Measurement as "MeasurementForm",
    WrittenMember: FamilyMember as "FamilyMemberForm",
    WrittenVolume: LabelVolume as "LabelVolumeForm",
    WrittenCard: Card as "CardForm"
);

/// By whose rules scans are read.
#[derive(Serialize, Deserialize)]
enum ReaderForm {
    SimpleItk,
    Nibabel,
}

/// Whether heads are exclusive labels (0) or regions (1), and the heads.
#[derive(Serialize, Deserialize)]
enum LabelsForm {
    Exclusive(Vec<WrittenLabel>),
    Regions(Vec<WrittenLabel>),
}

/// Records of a manifest.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    fn push(&mut self, number: u32, value: &impl Serialize) -> Result<(), postcard::Error> {
        let value = postcard::to_allocvec(value)?;
        self.0.extend(postcard::to_allocvec(&(number, value.as_slice()))?);
        Ok(())
    }
}

/// The records of a manifest.
///
/// # Errors
/// Only a failure of the encoder.
pub(super) fn write(manifest: &Manifest) -> Result<Vec<u8>, postcard::Error> {
    // Named one by one: a new field does not compile until it has a record.
    let Manifest {
        format,
        name,
        grid,
        channels,
        reader,
        crop_to_nonzero,
        resample_data,
        resample_logits,
        labels,
        folds,
        mirror_axes,
        probabilities,
        provenance,
        accuracy,
        measured,
        family,
        envelope,
        card,
        graph_sha256,
    } = manifest.clone();
    let heads = |heads: Vec<Label>| heads.into_iter().map(WrittenLabel).collect();
    let labels = match labels {
        Labels::Exclusive { heads: h } => LabelsForm::Exclusive(heads(h)),
        Labels::Regions { heads: h } => LabelsForm::Regions(heads(h)),
    };
    let mut records = Records::default();
    records.push(FORMAT, &format)?;
    records.push(NAME, &name)?;
    records.push(GRID, &WrittenGrid(grid))?;
    records.push(CHANNELS, &channels.into_iter().map(WrittenChannel).collect::<Vec<_>>())?;
    records.push(CROP_TO_NONZERO, &crop_to_nonzero)?;
    records.push(RESAMPLE_DATA, &WrittenResampling(resample_data))?;
    records.push(RESAMPLE_LOGITS, &WrittenResampling(resample_logits))?;
    records.push(LABELS, &labels)?;
    records.push(FOLDS, &folds)?;
    records.push(MIRROR_AXES, &mirror_axes)?;
    match reader {
        Reader::SimpleItk => {}
        Reader::Nibabel => records.push(READER, &ReaderForm::Nibabel)?,
    }
    if probabilities {
        records.push(PROBABILITIES, &probabilities)?;
    }
    records.push(PROVENANCE, &provenance)?;
    records.push(ACCURACY, &accuracy)?;
    records.push(MEASURED, &measured.into_iter().map(WrittenMeasurement).collect::<Vec<_>>())?;
    records.push(FAMILY, &family.into_iter().map(WrittenMember).collect::<Vec<_>>())?;
    records.push(GRAPH_SHA256, &graph_sha256)?;
    if let Some(envelope) = envelope {
        records.push(ENVELOPE, &WrittenEnvelope::from(envelope))?;
    }
    if let Some(card) = card {
        records.push(CARD, &WrittenCard(card))?;
    }
    Ok(records.0)
}

/// The whole of a record's value.
fn value<'a, T: Deserialize<'a>>(number: u32, bytes: &'a [u8]) -> Result<T, ImageError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(ImageError::Damaged(format!(
            "record {number} of its manifest, of {} bytes, cannot be read",
            bytes.len()
        ))),
    }
}

/// Reads records; the manifest is not checked yet.
pub(super) fn read(mut bytes: &[u8]) -> Result<Manifest, ImageError> {
    let (mut grid, mut channels, mut labels) = (None, None, None);
    let mut others = Vec::new();
    let mut seen = BTreeSet::new();
    while !bytes.is_empty() {
        let record = postcard::take_from_bytes::<(u32, &[u8])>(bytes);
        let ((number, data), rest) = record.map_err(|_| {
            ImageError::Damaged(format!(
                "a record of its manifest cannot be read, {} bytes before its end",
                bytes.len()
            ))
        })?;
        bytes = rest;
        if !seen.insert(number) {
            return Err(ImageError::Damaged(format!("its manifest has record {number} twice")));
        }
        match number {
            GRID => grid = Some(value::<WrittenGrid>(number, data)?.0),
            CHANNELS => channels = Some(value::<Vec<WrittenChannel>>(number, data)?),
            LABELS => labels = Some(value::<LabelsForm>(number, data)?),
            _ => others.push((number, data)),
        }
    }
    let (Some(grid), Some(channels), Some(labels)) = (grid, channels, labels) else {
        return Err(ImageError::Damaged("its manifest has no grid, no channels or no labels".into()));
    };
    let heads = |heads: Vec<WrittenLabel>| heads.into_iter().map(|label| label.0).collect();
    let labels = match labels {
        LabelsForm::Exclusive(h) => Labels::Exclusive { heads: heads(h) },
        LabelsForm::Regions(h) => Labels::Regions { heads: heads(h) },
    };
    let mut manifest = Manifest::new(grid, channels.into_iter().map(|channel| channel.0).collect(), labels);
    for (number, data) in others {
        set(&mut manifest, number, data)?;
    }
    Ok(manifest)
}

/// Sets a field that has a value where its record is missing.
fn set(manifest: &mut Manifest, number: u32, data: &[u8]) -> Result<(), ImageError> {
    match number {
        FORMAT => manifest.format = value(number, data)?,
        NAME => manifest.name = value(number, data)?,
        CROP_TO_NONZERO => manifest.crop_to_nonzero = value(number, data)?,
        RESAMPLE_DATA => manifest.resample_data = value::<WrittenResampling>(number, data)?.0,
        RESAMPLE_LOGITS => manifest.resample_logits = value::<WrittenResampling>(number, data)?.0,
        FOLDS => manifest.folds = value(number, data)?,
        MIRROR_AXES => manifest.mirror_axes = value(number, data)?,
        READER => {
            manifest.reader = match value(number, data)? {
                ReaderForm::SimpleItk => Reader::SimpleItk,
                ReaderForm::Nibabel => Reader::Nibabel,
            }
        }
        PROBABILITIES => manifest.probabilities = value(number, data)?,
        PROVENANCE => manifest.provenance = value::<BTreeMap<String, String>>(number, data)?,
        ACCURACY => manifest.accuracy = value::<BTreeMap<String, f64>>(number, data)?,
        MEASURED => {
            let all: Vec<WrittenMeasurement> = value(number, data)?;
            manifest.measured = all.into_iter().map(|m| m.0).collect();
        }
        FAMILY => {
            let all: Vec<WrittenMember> = value(number, data)?;
            manifest.family = all.into_iter().map(|m| m.0).collect();
        }
        GRAPH_SHA256 => manifest.graph_sha256 = value(number, data)?,
        ENVELOPE => manifest.envelope = Some(value::<WrittenEnvelope>(number, data)?.into()),
        CARD => manifest.card = Some(value::<WrittenCard>(number, data)?.0),
        _ if number >= OPTIONAL => {}
        _ => return Err(ImageError::NewerManifest(number)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manifest in which no field has the value of a missing one.
    fn full() -> Manifest {
        let mut grid = NetworkGrid::new([1, 20, 300], [None, Some(0.75), Some(1.5)]);
        (grid.two_dimensional, grid.transpose_forward) = (true, [2, 0, 1]);
        let channels = [
            Normalization::ZScore { masked: true },
            Normalization::Ct { mean: 1.5, std: 2.5, lower: -7.0, upper: 8.0 },
            Normalization::None,
            Normalization::RescaleTo01,
            Normalization::RgbTo01,
            Normalization::PercentileTo01 { lower_percent: 0.5, upper_percent: 99.5 },
        ];
        let channels = channels.into_iter().map(|n| Channel::new("ü", n)).collect();
        let mut label = Label::new("organ", 65_535);
        (label.snomed, label.rgb) = (Some("10200004".into()), Some([1, 2, 3]));
        let mut m = Manifest::new(grid, channels, Labels::Regions { heads: [Label::new("none", 0), label].into() });
        (m.name, m.crop_to_nonzero, m.folds) = ("a name".into(), true, 5);
        m.resample_data = Resampling::Torch { force_separate_z: Some(true) };
        m.resample_logits = Resampling::Keep;
        m.mirror_axes = [1, 2].into();
        m.reader = Reader::Nibabel;
        m.probabilities = true;
        m.provenance.insert("source".into(), "a folder".into());
        m.accuracy.insert("mean_dice".into(), 0.875);
        m.measured = alloc::vec![Measurement {
            machine: "a CPU".into(),
            threads: 3,
            instructions: "avx2".into(),
            precision: "int8".into(),
            seconds_per_window: 0.25,
            peak_rss_bytes: 1 << 40,
        }];
        m.family = alloc::vec![FamilyMember {
            name: "b".into(),
            mean_dice: 0.5,
            seconds_per_window: 2.0,
            peak_rss_bytes: 7,
            graph_sha256: "00".into(),
        }];
        let mut envelope = Envelope::of_scans(&[[24, 40, 31], [47, 59, 300]], &[[1.0; 3], [5.0, 0.75, 0.75]]);
        envelope.intensities = alloc::vec![[-1024.0, 3071.0]; 6];
        envelope.foreground_intensities = alloc::vec![[-100.5, 300.0]; 6];
        envelope.label_volumes = alloc::vec![LabelVolume { value: 65_535, ml: [0.5, 2.5] }];
        m.envelope = Some(envelope);
        m.card = Some(Card {
            intended_use: "tests".into(),
            limits: "all else".into(),
            data: "none".into(),
            licence: "MIT".into(),
        });
        m.graph_sha256 = Some("ff".into());
        m
    }

    #[test]
    fn every_field_comes_back() {
        let full = full();
        assert_eq!(full.check(), Ok(()));
        assert_eq!(read(&write(&full).unwrap()), Ok(full.clone()));
        let heads = full.labels.heads().to_vec();
        let small = Manifest::new(full.grid.clone(), full.channels.clone(), Labels::Exclusive { heads });
        assert_eq!(read(&write(&small).unwrap()), Ok(small));
    }

    /// The bytes of a manifest as `docs/file-format.md` describes them; they must never change.
    #[test]
    fn the_bytes_are_those_of_the_format() {
        let grid = NetworkGrid::new([8, 10, 300], [Some(1.0), None, None]);
        let channels = [Channel::new("CT", Normalization::ZScore { masked: true })];
        let heads = [Label::new("a", 0), Label::new("b", 300)];
        let manifest = Manifest::new(grid, channels.into(), Labels::Exclusive { heads: heads.into() });
        let expected: [&[u8]; 15] = [
            &[1, 1, 1],
            &[2, 1, 0],
            &[3, 19, 8, 10, 0xac, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 1, 2],
            &[4, 6, 1, 2, b'C', b'T', 0, 1],
            &[5, 1, 0],
            &[6, 4, 0, 3, 0, 0],
            &[7, 4, 0, 1, 0, 0],
            &[8, 13, 0, 2, 1, b'a', 0, 0, 0, 1, b'b', 0xac, 2, 0, 0],
            &[9, 1, 1],
            &[10, 1, 0],
            &[64, 1, 0],
            &[65, 1, 0],
            &[66, 1, 0],
            &[67, 1, 0],
            &[68, 1, 0],
        ];
        assert_eq!(write(&manifest).unwrap(), expected.concat());
    }

    #[test]
    fn unknown_records_are_skipped_or_refused_by_their_number() {
        let full = full();
        let with = |number: u32| {
            let mut records = Records(write(&full).unwrap());
            records.push(number, &"from the future").unwrap();
            read(&records.0)
        };
        assert_eq!(with(71), Ok(full.clone()));
        assert_eq!(with(u32::MAX), Ok(full.clone()));
        assert_eq!(with(13), Err(ImageError::NewerManifest(13)));
        assert!(with(2).unwrap_err().to_string().contains("record 2 twice"));
        assert!(read(&[]).unwrap_err().to_string().contains("no grid"));
        // A value with more in it than its form has.
        let mut records = Records::default();
        records.push(GRID, &(WrittenGrid(full.grid.clone()), 1u8)).unwrap();
        assert!(read(&records.0).unwrap_err().to_string().contains("record 3"));
    }

    #[test]
    fn cut_off_records_are_refused() {
        let bytes = write(&full()).unwrap();
        let ends = (0..bytes.len()).filter(|&len| read(&bytes[..len]).is_ok()).count();
        // After the labels, only the ends of records are manifests.
        assert_eq!(ends, 11);
    }
}
