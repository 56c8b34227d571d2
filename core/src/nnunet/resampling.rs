//! How `plans.json` asks for resampling: a function of nnU-Net's and its keyword arguments.

use super::error::NnUnetError;
use super::json::Field;
use crate::manifest::Resampling;

/// The anisotropy above which the reference resamples the coarse axis on its own; the pipeline has no other.
const ANISOTROPY: f64 = 3.0;

/// The resampling under `key`, of label maps or of anything else, with its keyword arguments.
pub(super) fn resampling(configuration: &Field<'_>, key: &str, of_labels: bool) -> Result<Resampling, NnUnetError> {
    let function = configuration.require(key)?;
    let arguments = configuration.require(&format!("{key}_kwargs"))?;
    let name = function.text()?;
    let torch = match name {
        "resample_data_or_seg_to_shape" => false,
        "resample_torch_fornnunet" | "resample_torch_simple" => true,
        "no_resampling_hack" => return Ok(Resampling::Keep),
        _ => {
            return Err(function.unsupported(format!("the resampling function {name} is not supported")));
        }
    };
    let simple = name == "resample_torch_simple";
    // The functions' own defaults.
    let (mut order, mut order_z) = (3, 0);
    let mut force_separate_z = if torch && !simple { None } else { Some(false) };
    for (key, argument) in arguments.entries()? {
        match key {
            "is_seg" => match (argument.truth()?, of_labels) {
                (true, false) => return Err(argument.wrong("must be false: images and logits are no label maps")),
                (false, true) => return Err(argument.wrong("must be true for label maps")),
                _ => {}
            },
            "force_separate_z" if !simple => force_separate_z = argument.truth_or_null()?,
            "separate_z_anisotropy_threshold" if !simple => {
                if argument.number()? != ANISOTROPY {
                    return Err(argument.unsupported(format!(
                        "an anisotropy threshold of {} is not supported; it must be {ANISOTROPY}",
                        argument.value()
                    )));
                }
            }
            "order" if !torch => {
                order = argument.whole(0..=5)? as u8;
                if !matches!(order, 0 | 1 | 3) {
                    return Err(argument.unsupported(format!("splines of order {order} are not supported")));
                }
            }
            "order_z" if !torch => {
                order_z = argument.whole(0..=5)? as u8;
                if order_z > 1 {
                    return Err(
                        argument.unsupported(format!("splines of order {order_z} between slices are not supported"))
                    );
                }
            }
            "mode" | "aniso_axis_mode" if torch => {
                let supported = if key == "mode" { "linear" } else { "nearest-exact" };
                if argument.text()? != supported {
                    return Err(argument.unsupported(format!(
                        "resampling with {key} {} is not supported; it must be {supported}",
                        argument.value()
                    )));
                }
            }
            // Where and how fast label maps are resampled; neither changes images or logits.
            "num_threads" | "device" | "memefficient_seg_resampling" if torch => {}
            _ => {
                return Err(argument.unsupported(format!("the argument {key} of {name} is not supported")));
            }
        }
    }
    Ok(if torch {
        Resampling::Torch { force_separate_z }
    } else {
        Resampling::Spline { order, order_z, force_separate_z }
    })
}
