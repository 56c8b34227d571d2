//! `plans.json`: grid, normalisation, resampling and architecture of a configuration.

use super::error::NnUnetError;
use super::json::{self, Field};
use super::old_plans::architecture_of_old_plans;
use super::resampling::resampling;
use crate::manifest::{Normalization, Resampling};
use crate::volume::Reader;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A plans file.
#[derive(Clone, Debug)]
pub struct Plans {
    path: PathBuf,
    root: Value,
    /// Name of the dataset trained on.
    pub dataset_name: String,
    /// Name of the plans.
    pub plans_name: String,
    /// Network axis `i` is file axis `transpose_forward[i]`.
    pub transpose_forward: [usize; 3],
    /// By whose rules scans are read.
    pub reader: Reader,
}

/// One configuration, its inheritance resolved.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Its name.
    pub name: String,
    /// Voxels per tile: two or three axes, those of the network.
    pub patch: Vec<usize>,
    /// Voxel distance in millimetres, as many axes.
    pub spacing_mm: Vec<f64>,
    /// One per channel.
    pub normalization: Vec<Normalization>,
    /// How scans are brought to the network grid.
    pub resample_data: Resampling,
    /// How logits are brought back.
    pub resample_logits: Resampling,
    /// The network's class, as a dotted Python name.
    pub network_class: String,
    /// What the class is built with.
    pub network_arguments: Value,
    pub(super) path: PathBuf,
}

/// What only training asks of a configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingEntries {
    /// Patches per step.
    pub batch_size: usize,
    /// The Dice loss sums over the batch before it divides.
    pub batch_dice: bool,
    /// How label maps are brought to the network grid.
    pub resample_labels: Resampling,
}

impl Plans {
    /// Reads `plans.json`.
    ///
    /// # Errors
    /// The file cannot be read, or asks for something this program does not do.
    pub fn read(path: &Path) -> Result<Plans, NnUnetError> {
        Plans::from_value(json::read(path)?, path)
    }

    /// As [`Plans::read`], from a text; `path` only names it in errors.
    ///
    /// # Errors
    /// As [`Plans::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Plans, NnUnetError> {
        Plans::from_value(json::parse(text, path)?, path)
    }

    fn from_value(root: Value, path: &Path) -> Result<Plans, NnUnetError> {
        let field = Field::new(path, "", &root);
        if let Some(manager) = field.get("label_manager")?
            && manager.text()? != "LabelManager"
        {
            return Err(manager.unsupported(format!("the label manager {} is not supported", manager.value())));
        }
        let reader = field.get_set("image_reader_writer")?.map_or(Ok(Reader::default()), |name| reader(&name))?;
        let axes = field.require("transpose_forward")?;
        let transpose = axes.items()?.iter().map(|axis| axis.whole(0..=2)).collect::<Result<Vec<_>, _>>()?;
        let mut sorted = transpose.clone();
        sorted.sort_unstable();
        if sorted != [0, 1, 2] {
            return Err(axes.wrong("must hold each of 0, 1 and 2 once"));
        }
        Ok(Plans {
            dataset_name: field.require("dataset_name")?.text()?.to_string(),
            plans_name: field.require("plans_name")?.text()?.to_string(),
            transpose_forward: [transpose[0], transpose[1], transpose[2]],
            reader,
            path: path.to_path_buf(),
            root,
        })
    }

    /// The configuration called `name`, for a network of `channels` channels.
    ///
    /// # Errors
    /// There is no such configuration, or it asks for something this program does not do.
    pub fn configuration(&self, name: &str, channels: usize) -> Result<Configuration, NnUnetError> {
        let merged = Value::Object(self.merged(name)?);
        let field = Field::new(&self.path, &format!("configurations.{name}"), &merged);

        if let Some(stage) = field.get_set("previous_stage")? {
            return Err(stage.unsupported(format!(
                "configuration {name} is the second stage of a cascade ({}), which is not supported",
                stage.value()
            )));
        }
        let preprocessor = field.require("preprocessor_name")?;
        if preprocessor.text()? != "DefaultPreprocessor" {
            return Err(preprocessor.unsupported(format!("the preprocessor {} is not supported", preprocessor.value())));
        }

        let patch_field = field.require("patch_size")?;
        let patch: Vec<usize> = patch_field.items()?.iter().map(|n| n.whole(1..=1 << 14)).collect::<Result<_, _>>()?;
        if !matches!(patch.len(), 2 | 3) {
            return Err(patch_field.wrong(format!("should have 2 or 3 numbers, but has {}", patch.len())));
        }
        let spacing_field = field.require("spacing")?;
        let spacing_mm: Vec<f64> = spacing_field.items()?.iter().map(Field::number).collect::<Result<_, _>>()?;
        if spacing_mm.len() != patch.len() || spacing_mm.iter().any(|mm| *mm <= 0.0) {
            return Err(spacing_field.wrong(format!("should have {} positive numbers", patch.len())));
        }

        let old_architecture;
        let architecture = match field.get("architecture")? {
            Some(architecture) => architecture,
            None => {
                old_architecture = architecture_of_old_plans(&field, patch.len())?;
                Field::new(&self.path, &format!("configurations.{name}.architecture"), &old_architecture)
            }
        };
        Ok(Configuration {
            name: name.to_string(),
            normalization: self.normalization(&field, channels)?,
            resample_data: resampling(&field, "resampling_fn_data", false)?,
            resample_logits: resampling(&field, "resampling_fn_probabilities", false)?,
            network_class: architecture.require("network_class_name")?.text()?.to_string(),
            network_arguments: architecture.require("arch_kwargs")?.value().clone(),
            path: self.path.clone(),
            patch,
            spacing_mm,
        })
    }

    /// The entries of the configuration called `name` that only training asks for.
    ///
    /// # Errors
    /// There is no such configuration, an entry is missing, or asks for something this program does not do.
    pub fn training(&self, name: &str) -> Result<TrainingEntries, NnUnetError> {
        let merged = Value::Object(self.merged(name)?);
        let field = Field::new(&self.path, &format!("configurations.{name}"), &merged);
        let resample_labels = resampling(&field, "resampling_fn_seg", true)?;
        if matches!(resample_labels, Resampling::Torch { .. } | Resampling::Spline { order: 3, .. })
            || matches!(resample_labels, Resampling::Spline { order_z: 1, .. })
        {
            return Err(field.require("resampling_fn_seg")?.unsupported(
                "label maps are resampled linearly or to the nearest in the plane and to the nearest between slices; \
                 what the plans ask for is not supported",
            ));
        }
        Ok(TrainingEntries {
            batch_size: field.require("batch_size")?.whole(1..=1 << 16)?,
            batch_dice: field.require("batch_dice")?.truth()?,
            resample_labels,
        })
    }

    /// The configuration's own entries over those it inherits. Entries are replaced whole, one level deep.
    fn merged(&self, name: &str) -> Result<Map<String, Value>, NnUnetError> {
        let root = Field::new(&self.path, "", &self.root);
        let all = root.require("configurations")?;
        let mut chain = vec![name.to_string()];
        let mut merged = Map::new();
        let mut next = name.to_string();
        loop {
            let configuration = all.get(&next)?.ok_or_else(|| {
                let known: Vec<&str> = all.object().map_or(Vec::new(), |o| o.keys().map(String::as_str).collect());
                all.wrong(format!("has no {next}; it has {}", known.join(", ")))
            })?;
            for (key, value) in configuration.object()? {
                merged.entry(key.as_str()).or_insert_with(|| value.clone());
            }
            let Some(parent) = configuration.get("inherits_from")? else {
                return Ok(merged);
            };
            next = parent.text()?.to_string();
            if chain.contains(&next) {
                return Err(parent.wrong(format!("inherits from itself: {} and {next} again", chain.join(", "))));
            }
            chain.push(next.clone());
        }
    }

    fn normalization(&self, configuration: &Field<'_>, channels: usize) -> Result<Vec<Normalization>, NnUnetError> {
        let schemes_field = configuration.require("normalization_schemes")?;
        let masks_field = configuration.require("use_mask_for_norm")?;
        let (schemes, masks) = (schemes_field.items()?, masks_field.items()?);
        for (field, count) in [(&schemes_field, schemes.len()), (&masks_field, masks.len())] {
            if count < channels {
                return Err(field.wrong(format!("has {count} entries, but dataset.json has {channels} channels")));
            }
        }
        let channel = |(c, (scheme, mask)): (usize, (&Field<'_>, &Field<'_>))| {
            let masked = mask.truth_or_null()?.unwrap_or(false);
            Ok(match scheme.text()? {
                "ZScoreNormalization" => Normalization::ZScore { masked },
                "CTNormalization" => self.ct(c)?,
                "NoNormalization" => Normalization::None,
                "RescaleTo01Normalization" => Normalization::RescaleTo01,
                "RGBTo01Normalization" => Normalization::RgbTo01,
                other => {
                    return Err(scheme.unsupported(format!("the normalisation {other} is not supported")));
                }
            })
        };
        schemes.iter().zip(&masks).take(channels).enumerate().map(channel).collect()
    }

    fn ct(&self, channel: usize) -> Result<Normalization, NnUnetError> {
        let root = Field::new(&self.path, "", &self.root);
        let properties = match root.get("foreground_intensity_properties_per_channel")? {
            Some(properties) => properties,
            // The key of older plans.
            None => match root.get("foreground_intensity_properties_by_modality")? {
                Some(properties) => properties,
                None => root.require("foreground_intensity_properties_per_channel")?,
            },
        };
        let properties = properties.require(&channel.to_string())?;
        // nnU-Net applies them to float32 voxels, where numpy rounds them first.
        let constant = |key: &str| -> Result<f32, NnUnetError> {
            let field = properties.require(key)?;
            let number = field.number()? as f32;
            if number.is_finite() { Ok(number) } else { Err(field.wrong("is beyond the range of float32")) }
        };
        Ok(Normalization::Ct {
            mean: constant("mean")?,
            std: constant("std")?,
            lower: constant("percentile_00_5")?,
            upper: constant("percentile_99_5")?,
        })
    }
}

/// Both of the readers that are followed give the file's own axes, z first.
fn reader(reader: &Field<'_>) -> Result<Reader, NnUnetError> {
    match reader.text()? {
        "SimpleITKIO" => Ok(Reader::SimpleItk),
        "NibabelIO" => Ok(Reader::Nibabel),
        name @ ("SimpleITKIOWithReorient" | "NibabelIOWithReorient") => Err(reader
            .unsupported(format!("the model was trained on scans turned to RAS ({name}), which is not supported yet"))),
        name @ ("NaturalImage2DIO" | "Tiff3DIO") => {
            Err(reader.unsupported(format!("the model reads natural images or TIFF ({name}), not medical volumes")))
        }
        name => Err(reader.unsupported(format!("the image reader {name} is not supported"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Value {
        json!({
            "dataset_name": "Dataset001_X", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
            "transpose_forward": [2, 0, 1],
            "foreground_intensity_properties_per_channel":
                {"0": {"mean": 98.7, "std": 173.4, "percentile_00_5": -870, "percentile_99_5": 612.0}},
            "configurations": {
                "3d_fullres": {
                    "preprocessor_name": "DefaultPreprocessor", "patch_size": [8, 16, 16], "spacing": [3.0, 1, 1],
                    "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [false],
                    "resampling_fn_data": "resample_data_or_seg_to_shape",
                    "resampling_fn_data_kwargs": {"is_seg": false, "order": 3, "order_z": 0, "force_separate_z": null},
                    "resampling_fn_probabilities": "resample_torch_fornnunet",
                    "resampling_fn_probabilities_kwargs":
                        {"is_seg": false, "force_separate_z": false, "memefficient_seg_resampling": false},
                    "architecture": {"network_class_name": "a.b.PlainConvUNet", "arch_kwargs": {"n_stages": 3}}
                },
                "child": {"inherits_from": "3d_fullres", "patch_size": [4, 8, 8]},
                "grandchild": {"inherits_from": "child", "architecture": {"network_class_name": "X", "arch_kwargs": {}}},
                "a": {"inherits_from": "b"}, "b": {"inherits_from": "a"},
                "lost": {"inherits_from": "nowhere"},
                "cascade": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
            }
        })
    }

    fn configuration(plans: &Value, name: &str) -> Result<Configuration, String> {
        Plans::parse(&plans.to_string(), Path::new("plans.json"))
            .and_then(|plans| plans.configuration(name, 1))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn training_asks_for_more() {
        let mut plans = base();
        let read = |plans: &Value| {
            let plans = Plans::parse(&plans.to_string(), Path::new("plans.json")).unwrap();
            plans.training("child").map_err(|e| e.to_string())
        };
        assert!(read(&plans).unwrap_err().contains("resampling_fn_seg` is missing"));
        let c = plans["configurations"]["3d_fullres"].as_object_mut().unwrap();
        c.extend(
            json!({
                "batch_size": 9, "batch_dice": true, "resampling_fn_seg": "resample_data_or_seg_to_shape",
                "resampling_fn_seg_kwargs": {"is_seg": true, "order": 1, "order_z": 0, "force_separate_z": null}
            })
            .as_object()
            .unwrap()
            .clone(),
        );
        let labels = Resampling::Spline { order: 1, order_z: 0, force_separate_z: None };
        assert_eq!(read(&plans).unwrap(), TrainingEntries { batch_size: 9, batch_dice: true, resample_labels: labels });
        for (key, value, says) in [
            ("order", json!(3), "not supported"),
            ("order_z", json!(1), "not supported"),
            ("is_seg", json!(false), "must be true"),
        ] {
            let mut bad = plans.clone();
            bad["configurations"]["3d_fullres"]["resampling_fn_seg_kwargs"][key] = value;
            assert!(read(&bad).unwrap_err().contains(says));
        }
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut plans = base();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        plans.pointer_mut(parent).unwrap()[key] = value;
        plans
    }

    #[test]
    fn a_configuration_is_read_whole() {
        let c = configuration(&base(), "3d_fullres").unwrap();
        assert_eq!(c.patch, [8, 16, 16]);
        assert_eq!(c.spacing_mm, [3.0, 1.0, 1.0]);
        assert_eq!(c.normalization, [Normalization::Ct { mean: 98.7, std: 173.4, lower: -870.0, upper: 612.0 }]);
        assert_eq!(c.resample_data, Resampling::Spline { order: 3, order_z: 0, force_separate_z: None });
        assert_eq!(c.resample_logits, Resampling::Torch { force_separate_z: Some(false) });
    }

    #[test]
    fn children_replace_entries_whole() {
        let c = configuration(&base(), "grandchild").unwrap();
        assert_eq!(c.patch, [4, 8, 8]);
        assert_eq!((c.network_class.as_str(), c.network_arguments), ("X", json!({})));
    }

    #[test]
    fn old_plans_get_an_architecture() {
        let mut plans = base();
        let c = plans["configurations"]["3d_fullres"].as_object_mut().unwrap();
        c.remove("architecture");
        c.extend(
            json!({
                "UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 32, "unet_max_num_features": 100,
                "n_conv_per_stage_encoder": [2, 2, 2], "n_conv_per_stage_decoder": [2, 2],
                "conv_kernel_sizes": [[3, 3, 3], [3, 3, 3], [3, 3, 3]],
                "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
            })
            .as_object()
            .unwrap()
            .clone(),
        );
        let c = configuration(&plans, "3d_fullres").unwrap();
        assert_eq!(c.network_class, "PlainConvUNet");
        assert_eq!(c.network_arguments["features_per_stage"], json!([32, 64, 100]));
        assert_eq!(c.network_arguments["norm_op"], "torch.nn.modules.instancenorm.InstanceNorm3d");
    }

    #[test]
    fn refusals_name_their_reason() {
        for (name, says) in [
            ("a", "inherits from itself: a, b and a again"),
            ("lost", "has no nowhere; it has"),
            ("cascade", "second stage of a cascade"),
            ("2d", "has no 2d"),
        ] {
            let error = configuration(&base(), name).unwrap_err();
            assert!(error.contains(says) && error.starts_with("plans.json"), "{error}");
        }
        let c = "/configurations/3d_fullres/";
        for (pointer, value, says) in [
            (format!("{c}preprocessor_name"), json!("MyPreprocessor"), "preprocessor \"MyPreprocessor\""),
            (format!("{c}normalization_schemes"), json!(["MyNorm"]), "normalisation MyNorm"),
            (format!("{c}normalization_schemes"), json!([]), "has 0 entries, but dataset.json has 1 channels"),
            (format!("{c}resampling_fn_data"), json!("my_fn"), "resampling function my_fn"),
            (format!("{c}resampling_fn_data_kwargs/order"), json!(2), "order 2"),
            (format!("{c}resampling_fn_data_kwargs/is_seg"), json!(true), "must be false"),
            (format!("{c}resampling_fn_data_kwargs/foo"), json!(1), "argument foo"),
            (format!("{c}patch_size"), json!([8]), "2 or 3 numbers"),
            (format!("{c}patch_size"), json!([8, 0, 8]), "patch_size.1"),
            (format!("{c}spacing"), json!([1, 1]), "3 positive numbers"),
            ("/label_manager".into(), json!("Mine"), "label manager \"Mine\""),
            ("/image_reader_writer".into(), json!("NaturalImage2DIO"), "NaturalImage2DIO"),
            ("/image_reader_writer".into(), json!("NibabelIOWithReorient"), "RAS"),
            ("/transpose_forward".into(), json!([0, 1, 1]), "once"),
            ("/foreground_intensity_properties_per_channel".into(), json!({}), "is missing"),
        ] {
            let error = configuration(&with(&pointer, value), "3d_fullres").unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
