//! Plans from before nnU-Net 2.4.

use super::error::NnUnetError;
use super::json::Field;
use serde_json::{Value, json};

/// The architecture that such plans imply. They state only the U-Net's numbers.
pub(super) fn architecture_of_old_plans(configuration: &Field<'_>, axes: usize) -> Result<Value, NnUnetError> {
    let class = configuration.require("UNet_class_name")?;
    let repeats = match class.text()? {
        "PlainConvUNet" => "n_conv_per_stage",
        "ResidualEncoderUNet" => "n_blocks_per_stage",
        name => return Err(class.unsupported(format!("the network {name} is not supported"))),
    };
    let repeats_encoder = configuration.require("n_conv_per_stage_encoder")?;
    let stages = repeats_encoder.items()?.len();
    let first = configuration.require("UNet_base_num_features")?.whole(1..=1 << 16)?;
    let most = configuration.require("unet_max_num_features")?.whole(1..=1 << 16)?;
    let features: Vec<usize> = (0..stages).map(|s| first.saturating_mul(1 << s.min(16)).min(most)).collect();
    let mut arguments = json!({
        "n_stages": stages,
        "features_per_stage": features,
        "conv_op": format!("torch.nn.modules.conv.Conv{axes}d"),
        "kernel_sizes": configuration.require("conv_kernel_sizes")?.value(),
        "strides": configuration.require("pool_op_kernel_sizes")?.value(),
        "n_conv_per_stage_decoder": configuration.require("n_conv_per_stage_decoder")?.value(),
        "conv_bias": true,
        "norm_op": format!("torch.nn.modules.instancenorm.InstanceNorm{axes}d"),
        "norm_op_kwargs": {"eps": 1e-5, "affine": true},
        "dropout_op": null,
        "dropout_op_kwargs": null,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": true},
    });
    arguments[repeats] = repeats_encoder.value().clone();
    Ok(json!({"network_class_name": class.value(), "arch_kwargs": arguments}))
}
