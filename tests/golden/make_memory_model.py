#!/usr/bin/env python3
"""The network of the memory tests: 25 labels on a 1.5 mm grid, patch 96^3, few channels, seeded random weights.

    make_memory_model.py OUT_FOLDER

Needs nnunetv2 2.8.1 (it builds the network). Writes an nnU-Net v2 model folder whose checkpoint has just the entries that
inference reads.
"""
import json
import os
import sys

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

FEATURES = [4, 8, 16, 16]
PATCH = [96, 96, 96]
HEADS = 25

stages = len(FEATURES)
architecture = dict(
    n_stages=stages, features_per_stage=FEATURES, conv_op="torch.nn.modules.conv.Conv3d",
    kernel_sizes=[[3, 3, 3]] * stages, strides=[[1, 1, 1]] + [[2, 2, 2]] * (stages - 1), n_conv_per_stage=[2] * stages,
    n_conv_per_stage_decoder=[1] * (stages - 1), conv_bias=True, norm_op="torch.nn.modules.instancenorm.InstanceNorm3d",
    norm_op_kwargs={"eps": 1e-5, "affine": True}, dropout_op=None, dropout_op_kwargs=None,
    nonlin="torch.nn.LeakyReLU", nonlin_kwargs={"inplace": True})
spline = "resample_data_or_seg_to_shape"
kwargs = dict(order_z=0, force_separate_z=None)
configuration = dict(
    data_identifier="memory", preprocessor_name="DefaultPreprocessor", batch_size=2, patch_size=PATCH,
    median_image_size_in_voxels=[400.0, 256.0, 256.0], spacing=[1.5, 1.5, 1.5], normalization_schemes=["CTNormalization"],
    use_mask_for_norm=[False], resampling_fn_data=spline, resampling_fn_seg=spline, resampling_fn_probabilities=spline,
    resampling_fn_data_kwargs=dict(kwargs, is_seg=False, order=3), resampling_fn_seg_kwargs=dict(kwargs, is_seg=True, order=1),
    resampling_fn_probabilities_kwargs=dict(kwargs, is_seg=False, order=1), batch_dice=False,
    architecture=dict(network_class_name="dynamic_network_architectures.architectures.unet.PlainConvUNet",
                      arch_kwargs=architecture, _kw_requires_import=["conv_op", "norm_op", "dropout_op", "nonlin"]))
statistics = dict(mean=50.0, median=60.0, std=200.0, min=-1000.0, max=3000.0, percentile_00_5=-900.0, percentile_99_5=900.0)
plans = dict(
    dataset_name="Dataset901_memory", plans_name="nnUNetPlans", original_median_spacing_after_transp=[1.5] * 3,
    original_median_shape_after_transp=[400, 256, 256], image_reader_writer="SimpleITKIO", transpose_forward=[0, 1, 2],
    transpose_backward=[0, 1, 2], configurations={"3d_fullres": configuration}, experiment_planner_used="ExperimentPlanner",
    label_manager="LabelManager", foreground_intensity_properties_per_channel={"0": statistics})
labels = {"background": 0, **{f"organ {i}": i for i in range(1, HEADS)}}
dataset = dict(channel_names={"0": "CT"}, labels=labels, numTraining=1, file_ending=".nii.gz")

out = sys.argv[1]
os.makedirs(os.path.join(out, "fold_0"), exist_ok=True)
for name, content in (("plans.json", plans), ("dataset.json", dataset)):
    with open(os.path.join(out, name), "w") as f:
        json.dump(content, f, indent=1)
torch.manual_seed(0)
manager = PlansManager(plans)
net = nnUNetTrainer.build_network_architecture(manager, manager.get_configuration("3d_fullres"), 1, HEADS, True)
torch.save(dict(network_weights=net.state_dict(), trainer_name="nnUNetTrainer",
                init_args={"configuration": "3d_fullres"}, inference_allowed_mirroring_axes=(0, 1, 2)),
           os.path.join(out, "fold_0", "checkpoint_final.pth"))
