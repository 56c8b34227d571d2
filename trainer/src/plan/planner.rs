//! nnU-Net's experiment planner: from a fingerprint to `plans.json`.

use super::fingerprint::{Fingerprint, column, median, percentile};
use super::topology::{FeatureMaps, Topology};
use scanside_core::preprocess::target_shape;
use serde_json::{Map, Value, json};

/// Spacings and sizes are anisotropic when one exceeds the others this many times.
const ANISOTROPY: f64 = 3.0;

/// A patch that covers a smaller fraction of a median case requires a configuration of lower resolution.
const LOWRES_BELOW: f64 = 0.25;

/// Factor by which the voxels of that configuration are enlarged at a time.
const LENGTHEN: f64 = 1.03;

const SMALLEST_BATCH: u64 = 2;
const FIRST_FEATURES: usize = 32;

/// nnU-Net's planners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Planner {
    /// `ExperimentPlanner`: a plain U-Net for 8 GB.
    Default,
    /// `nnUNetPlannerResEncM`: a residual encoder for 9 to 11 GB.
    ResencM,
    /// `nnUNetPlannerResEncL`: a residual encoder for 24 GB.
    ResencL,
    /// `nnUNetPlannerResEncXL`: a residual encoder for 40 GB.
    ResencXl,
}

/// A planner's constants. Elements are those of one patch's feature maps, a measure of memory.
struct Constants {
    class: &'static str,
    plans_name: &'static str,
    network: &'static str,
    repeats: &'static str,
    residual: bool,
    elements_3d: f64,
    elements_2d: f64,
    /// Largest fraction of the dataset's voxels in a batch.
    covered: f64,
}

impl Planner {
    fn constants(self) -> Constants {
        let residual = Constants {
            class: "nnUNetPlannerResEncM",
            plans_name: "nnUNetResEncUNetMPlans",
            network: "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
            repeats: "n_blocks_per_stage",
            residual: true,
            elements_3d: 680e6,
            elements_2d: 135e6,
            covered: 1.0,
        };
        match self {
            Planner::Default => Constants {
                class: "ExperimentPlanner",
                plans_name: "nnUNetPlans",
                network: "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                repeats: "n_conv_per_stage",
                residual: false,
                elements_3d: 560e6,
                elements_2d: 85e6,
                covered: 0.05,
            },
            Planner::ResencM => residual,
            Planner::ResencL => Constants {
                class: "nnUNetPlannerResEncL",
                plans_name: "nnUNetResEncUNetLPlans",
                elements_3d: 2100e6,
                elements_2d: 380e6,
                ..residual
            },
            Planner::ResencXl => Constants {
                class: "nnUNetPlannerResEncXL",
                plans_name: "nnUNetResEncUNetXLPlans",
                elements_3d: 3600e6,
                elements_2d: 560e6,
                ..residual
            },
        }
    }

    /// The identifier of the plans it writes.
    pub fn plans_name(self) -> &'static str {
        self.constants().plans_name
    }
}

/// The planner's inputs from `dataset.json`.
#[derive(Clone, Debug)]
pub struct DatasetFacts<'a> {
    /// Name of the dataset.
    pub name: &'a str,
    /// Channel names in order.
    pub channels: &'a [String],
    /// Entries of `labels`, including background and ignore: the planner counts all of them as heads.
    pub label_entries: usize,
    /// Number of training cases.
    pub cases: u64,
}

/// Plans every configuration that nnU-Net plans: `2d`, `3d_fullres`, and where a patch covers too little of a case,
/// `3d_lowres` and the cascade.
///
/// # Panics
/// The fingerprint has no case.
pub fn plan(fingerprint: &Fingerprint, dataset: &DatasetFacts<'_>, planner: Planner) -> Value {
    let constants = planner.constants();
    let target = target_spacing(fingerprint);
    let forward = transpose(target);
    let backward: Vec<usize> = (0..3).filter_map(|axis| forward.iter().position(|&k| k == axis)).collect();
    let spacing = forward.map(|axis| target[axis]);
    let resampled: Vec<[usize; 3]> = fingerprint
        .spacings
        .iter()
        .zip(&fingerprint.shapes_after_crop)
        .map(|(from, shape)| target_shape(*shape, *from, target))
        .collect();
    let median_shape = forward.map(|axis| median(&column(&resampled, axis, |n| n as f64)));
    let (schemes, masks) = normalization(fingerprint, dataset.channels);
    let planning = Planning { constants: &constants, dataset, schemes, masks };
    let mut configurations = Map::new();
    if median_shape[0] != 1.0 {
        planning.volumes(spacing, median_shape, &mut configurations);
    }
    let dataset_voxels = product(&median_shape) * dataset.cases as f64;
    let mut flat = planning.configuration("2d", &spacing[1..], &median_shape[1..], dataset_voxels);
    flat.entries["median_image_size_in_voxels"] = json!(median_shape[1..]);
    flat.entries["batch_dice"] = json!(true);
    configurations.insert("2d".into(), flat.entries);

    json!({
        "dataset_name": dataset.name,
        "plans_name": constants.plans_name,
        "original_median_spacing_after_transp": forward.map(|axis| median(&column(&fingerprint.spacings, axis, |mm| mm))),
        "original_median_shape_after_transp": forward.map(|axis| {
            median(&column(&fingerprint.shapes_after_crop, axis, |n| n as f64)).round_ties_even() as u64
        }),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": forward,
        "transpose_backward": backward,
        "configurations": configurations,
        "experiment_planner_used": constants.class,
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": fingerprint.foreground_intensity_properties_per_channel,
    })
}

fn product(numbers: &[f64]) -> f64 {
    numbers.iter().product()
}

/// The median voxel, finer along an axis of few and thick slices.
fn target_spacing(fingerprint: &Fingerprint) -> [f64; 3] {
    let spacings = [0, 1, 2].map(|axis| column(&fingerprint.spacings, axis, |mm| mm));
    let mut target = [0, 1, 2].map(|axis| percentile(&spacings[axis], 50.0));
    let sizes = [0, 1, 2].map(|axis| percentile(&column(&fingerprint.shapes_after_crop, axis, |n| n as f64), 50.0));
    let worst = coarsest(target);
    let others = [0, 1, 2].into_iter().filter(|&axis| axis != worst);
    let longest = others.clone().map(|axis| target[axis]).fold(f64::MIN, f64::max);
    let shortest = others.map(|axis| sizes[axis]).fold(f64::MAX, f64::min);
    if target[worst] > ANISOTROPY * longest && sizes[worst] * ANISOTROPY < shortest {
        let fine = percentile(&spacings[worst], 10.0);
        target[worst] = if fine < longest { longest + 1e-5 } else { fine };
    }
    target
}

/// The axis with the longest voxels, the first of several.
fn coarsest(spacing: [f64; 3]) -> usize {
    (1..3).fold(0, |worst, axis| if spacing[axis] > spacing[worst] { axis } else { worst })
}

/// The coarsest axis comes first.
fn transpose(spacing: [f64; 3]) -> [usize; 3] {
    match coarsest(spacing) {
        0 => [0, 1, 2],
        1 => [1, 0, 2],
        _ => [2, 0, 1],
    }
}

/// Axes that are much finer than the coarsest first, then all.
fn lengthen(spacing: &mut [f64; 3]) {
    let longest = spacing.iter().copied().fold(f64::MIN, f64::max);
    let much_finer = spacing.map(|mm| longest / mm > 2.0);
    let all = !much_finer.contains(&true);
    for (mm, finer) in spacing.iter_mut().zip(much_finer) {
        if finer || all {
            *mm *= LENGTHEN;
        }
    }
}

/// Normalisation by channel name, and whether only the nonzero part counts.
fn normalization(fingerprint: &Fingerprint, channels: &[String]) -> (Vec<&'static str>, Vec<bool>) {
    let schemes: Vec<&str> = channels
        .iter()
        .map(|name| match name.to_lowercase().as_str() {
            "ct" => "CTNormalization",
            "nonorm" => "NoNormalization",
            "rescale_to_0_1" => "RescaleTo01Normalization",
            "rgb_to_0_1" => "RGBTo01Normalization",
            _ => "ZScoreNormalization",
        })
        .collect();
    let mostly_empty = fingerprint.median_relative_size_after_cropping < 0.75;
    let masks = schemes.iter().map(|scheme| mostly_empty && *scheme == "ZScoreNormalization").collect();
    (schemes, masks)
}

/// What all configurations are planned from.
struct Planning<'a> {
    constants: &'a Constants,
    dataset: &'a DatasetFacts<'a>,
    schemes: Vec<&'static str>,
    masks: Vec<bool>,
}

/// A planned configuration.
struct Planned {
    entries: Value,
    patch_voxels: f64,
}

impl Planning<'_> {
    /// `3d_fullres` and, where its patch covers too little of a median case, `3d_lowres` and the cascade.
    fn volumes(&self, spacing: [f64; 3], median_shape: [f64; 3], configurations: &mut Map<String, Value>) {
        let (voxels, cases) = (product(&median_shape), self.dataset.cases as f64);
        let mut fullres = self.configuration("3d_fullres", &spacing, &median_shape, voxels * cases);
        fullres.entries["median_image_size_in_voxels"] = json!(median_shape);
        let mut lowres = None;
        let mut long = spacing;
        let (mut shown, mut low_voxels) = (fullres.patch_voxels, voxels);
        while shown / low_voxels < LOWRES_BELOW {
            lengthen(&mut long);
            let ratio: [f64; 3] = std::array::from_fn(|k| spacing[k] / long[k] * median_shape[k]);
            low_voxels = product(&ratio);
            let shape = ratio.map(f64::round_ties_even);
            let mut planned = self.configuration("3d_lowres", &long, &shape, low_voxels * cases);
            planned.entries["median_image_size_in_voxels"] = json!(shape.map(|n| n as u64));
            shown = planned.patch_voxels;
            lowres = Some(planned);
        }
        let lowres = lowres.filter(|_| voxels / low_voxels >= 2.0);
        fullres.entries["batch_dice"] = json!(lowres.is_some());
        if let Some(mut lowres) = lowres {
            lowres.entries["batch_dice"] = json!(false);
            lowres.entries["next_stage"] = json!("3d_cascade_fullres");
            configurations.insert("3d_lowres".into(), lowres.entries);
            let cascade = json!({"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"});
            configurations.insert("3d_cascade_fullres".into(), cascade);
        }
        configurations.insert("3d_fullres".into(), fullres.entries);
    }

    /// A configuration for cases of the median extents `shape` at this spacing.
    fn configuration(&self, name: &str, spacing: &[f64], shape: &[f64], dataset_voxels: f64) -> Planned {
        let constants = self.constants;
        let flat = spacing.len() == 2;
        let (reference, reference_batch) =
            if flat { (constants.elements_2d, 12.0) } else { (constants.elements_3d, 2.0) };
        let network = self.largest_network(spacing, shape, reference, reference_batch);
        let patch_voxels: f64 = network.topology.patch.iter().map(|n| *n as f64).product();
        let fitting = (reference / network.elements as f64 * reference_batch).round_ties_even() as u64;
        let covering = (dataset_voxels * constants.covered / patch_voxels).round_ties_even() as u64;
        let kwargs = |of_labels: bool, order: u8| json!({"is_seg": of_labels, "order": order, "order_z": 0, "force_separate_z": null});
        // The residual planners share the data of the default one where they do not differ.
        let data_identifier = match name {
            "3d_lowres" => format!("{}_{name}", constants.plans_name),
            _ => format!("nnUNetPlans_{name}"),
        };
        let entries = json!({
            "data_identifier": data_identifier,
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": fitting.min(covering).max(SMALLEST_BATCH),
            "patch_size": network.topology.patch,
            "spacing": spacing,
            "normalization_schemes": self.schemes,
            "use_mask_for_norm": self.masks,
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_seg": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": kwargs(false, 3),
            "resampling_fn_seg_kwargs": kwargs(true, 1),
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities_kwargs": kwargs(false, 1),
            "architecture": {
                "network_class_name": constants.network,
                "arch_kwargs": network.arguments(constants),
                "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
            },
        });
        Planned { entries, patch_voxels }
    }

    /// The network with the largest patch whose feature maps are not larger than the reference.
    fn largest_network(&self, spacing: &[f64], shape: &[f64], reference: f64, reference_batch: f64) -> Network {
        let (constants, heads) = (self.constants, self.dataset.label_entries);
        let (most_features, edge) = if spacing.len() == 2 { (512, 2048.0) } else { (320, 256.0) };
        // A patch with the proportions of a voxel and more voxels than will fit, but not beyond the median case.
        let inverse: Vec<f64> = spacing.iter().map(|mm| 1.0 / mm).collect();
        let axes = spacing.len() as i32;
        let scale = (f64::powi(edge, axes) / product(&inverse)).powf(1.0 / f64::from(axes));
        let first: Vec<f64> = inverse.iter().zip(shape).map(|(i, n)| (i * scale).round_ties_even().min(*n)).collect();
        let mut network = Network::new(constants, Topology::new(spacing, &first), most_features, heads);
        let too_large = |elements: u64| {
            let elements = elements as f64;
            // The residual planners compare a patch, the default one the smallest batch.
            if constants.residual { elements > reference } else { elements / reference_batch * 2.0 > reference }
        };
        while too_large(network.elements) {
            let topology = &network.topology;
            let relative = |k: usize| topology.patch[k] as f64 / shape[k];
            let widest =
                (1..spacing.len()).fold(0, |widest, k| if relative(k) >= relative(widest) { k } else { widest });
            let mut smaller: Vec<f64> = topology.patch.iter().map(|n| *n as f64).collect();
            // Subtracting the divisor at once could skip a size, since a smaller patch may have a smaller divisor.
            let mut tried = smaller.clone();
            tried[widest] -= topology.divisor[widest] as f64;
            smaller[widest] -= Topology::new(spacing, &tried).divisor[widest] as f64;
            network = Network::new(constants, Topology::new(spacing, &smaller), most_features, heads);
        }
        network
    }
}

/// A network, its patch and the size of its feature maps.
struct Network {
    topology: Topology,
    features: Vec<usize>,
    encoder: Vec<usize>,
    decoder: Vec<usize>,
    elements: u64,
}

impl Network {
    fn new(constants: &Constants, topology: Topology, most_features: usize, heads: usize) -> Network {
        let stages = topology.stages();
        let features: Vec<usize> = (0..stages).map(|s| (FIRST_FEATURES << s.min(16)).min(most_features)).collect();
        let (encoder, decoder) = if constants.residual {
            ((0..stages).map(|s| [1, 3, 4, 6][s.min(3)]).collect(), vec![1; stages - 1])
        } else {
            (vec![2; stages], vec![2; stages - 1])
        };
        let maps = FeatureMaps {
            topology: &topology,
            features: &features,
            encoder: &encoder,
            residual: constants.residual,
            decoder: &decoder,
            heads,
        };
        let elements = maps.elements();
        Network { topology, features, encoder, decoder, elements }
    }

    /// The arguments of the network's class in `plans.json`.
    fn arguments(&self, constants: &Constants) -> Value {
        let axes = self.topology.patch.len();
        let mut arguments = json!({
            "n_stages": self.topology.stages(),
            "features_per_stage": self.features,
            "conv_op": format!("torch.nn.modules.conv.Conv{axes}d"),
            "kernel_sizes": self.topology.kernels,
            "strides": self.topology.strides,
            "n_conv_per_stage_decoder": self.decoder,
            "conv_bias": true,
            "norm_op": format!("torch.nn.modules.instancenorm.InstanceNorm{axes}d"),
            "norm_op_kwargs": {"eps": 1e-5, "affine": true},
            "dropout_op": null,
            "dropout_op_kwargs": null,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": true},
        });
        arguments[constants.repeats] = json!(self.encoder);
        arguments
    }
}
