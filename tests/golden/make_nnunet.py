#!/usr/bin/env python3
"""Tiny seeded nnU-Net v2 model folders, and what PyTorch's own network answers to a fixed input.

    make_nnunet.py OUT            writes OUT/<variant>/ for every variant below

Needs nnunetv2 (made with 2.8.1, torch 2.11). Networks come from nnU-Net's own trainer classes and are loaded back with
its predictor, so nothing here says what the right names or numbers are.

Each folder holds dataset.json, plans.json, fold_*/checkpoint_final.pth and
    expected.json   {"made_by", "version", "input_shape", "output_shape", "folds"}
    expected.f32    little-endian float32: the input, then the logits of each fold
"""
import json
import os
import sys
import zipfile

import numpy as np
import torch

VERSION = 1
NORM = {"eps": 1e-5, "affine": True}

# class, kernels and strides per stage, features, patch and everything that is not the planner's default
VARIANTS = {
    "plain_regions": dict(
        cls="PlainConvUNet", patch=[8, 12, 8], features=[4, 6, 8],
        kernels=[[1, 3, 3], [3, 3, 3], [3, 3, 3]], strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        repeats=dict(n_conv_per_stage=[2, 2, 1]), decoder=[2, 2], channels=["T1", "T2"],
        labels={"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enh": [3]}, order=[1, 2, 3],
        transpose=[2, 0, 1], mirror=(0, 2)),
    "resenc_folds": dict(
        cls="ResidualEncoderUNet", patch=[8, 8, 12], features=[4, 4, 8], conv_bias=False,
        kernels=[[3, 3, 3]] * 3, strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        repeats=dict(n_blocks_per_stage=[1, 2, 2], stem_channels=3), decoder=[1, 1], channels=["CT"],
        folds=[0, 2], deflate=True, resample="resample_torch_fornnunet", mirror="missing"),
    "resenc_bottleneck": dict(
        cls="ResidualEncoderUNet", patch=[8, 8, 8], features=[8, 12], norm_kwargs={"eps": 1e-3, "affine": True},
        kernels=3, strides=[1, 2],
        repeats=dict(n_blocks_per_stage=2, bottleneck_channels=3,
                     block="dynamic_network_architectures.building_blocks.residual.BottleneckD"),
        decoder=1, channels=["MR"], nonlin="torch.nn.ReLU", mirror=None, requires=["block"],
        deflate=True),
    # instance norm without scale and shift (PyTorch's default), convolutions without bias
    "plain_bare": dict(
        cls="PlainConvUNet", patch=[8, 8, 8], features=[4, 6], kernels=3, strides=[1, 2], conv_bias=False,
        norm_kwargs={}, repeats=dict(n_conv_per_stage=1), decoder=1, channels=["MR"], nonlin="torch.nn.ReLU",
        mirror=()),
    # scalars where lists are usual; dropout shifts the module numbers; the activation comes before the norm
    "batch_norm": dict(
        cls="PlainConvUNet", patch=[8, 8, 8], features=5, kernels=3, strides=[1, 2], trainer="nnUNetTrainerBN",
        repeats=dict(n_conv_per_stage=2, nonlin_first=True), decoder=1, channels=["CT"], dropout=True,
        nonlin_kwargs={"inplace": True, "negative_slope": 0.2}, mirror=(0, 1, 2)),
    # plans from before nnU-Net 2.4, half-precision weights, one of them a transposed view
    "legacy_2d": dict(
        cls="PlainConvUNet", patch=[16, 12], features=[4, 8, 8], kernels=[[3, 3]] * 3,
        strides=[[1, 1], [2, 2], [2, 1]], repeats=dict(n_conv_per_stage=[2, 2, 2]), decoder=[2, 2],
        channels=["MRI"], legacy=True, half=True, mirror=(0, 1)),
}


def plans_and_dataset(name, v):
    dim = len(v["patch"])
    n = len(v["strides"])
    arguments = dict(
        n_stages=n, features_per_stage=v["features"], conv_op=f"torch.nn.modules.conv.Conv{dim}d",
        kernel_sizes=v["kernels"], strides=v["strides"], n_conv_per_stage_decoder=v["decoder"],
        conv_bias=v.get("conv_bias", True), norm_op=f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
        norm_op_kwargs=v.get("norm_kwargs", NORM),
        dropout_op=f"torch.nn.modules.dropout.Dropout{dim}d" if v.get("dropout") else None,
        dropout_op_kwargs={"p": 0.5} if v.get("dropout") else None,
        nonlin=v.get("nonlin", "torch.nn.LeakyReLU"), nonlin_kwargs=v.get("nonlin_kwargs", {"inplace": True}),
        **v["repeats"])
    fn = v.get("resample", "resample_data_or_seg_to_shape")
    data, logits = dict(is_seg=False, order=3, order_z=0, force_separate_z=None), dict(
        is_seg=False, order=1, order_z=0, force_separate_z=None)
    if "torch" in fn:
        data = logits = dict(is_seg=False, force_separate_z=False, memefficient_seg_resampling=False)
    configuration = dict(
        data_identifier="x", preprocessor_name="DefaultPreprocessor", batch_size=2, patch_size=v["patch"],
        median_image_size_in_voxels=v["patch"], spacing=[1.5, 0.8, 0.8][-dim:],
        normalization_schemes=["CTNormalization" if c == "CT" else "ZScoreNormalization" for c in v["channels"]],
        use_mask_for_norm=[c == "T1" for c in v["channels"]], resampling_fn_data=fn, resampling_fn_data_kwargs=data,
        resampling_fn_seg=fn, resampling_fn_seg_kwargs=dict(data, is_seg=True), resampling_fn_probabilities=fn,
        resampling_fn_probabilities_kwargs=logits, batch_dice=False)
    if v.get("legacy"):
        configuration.update(
            UNet_class_name=v["cls"], UNet_base_num_features=v["features"][0], unet_max_num_features=max(v["features"]),
            n_conv_per_stage_encoder=v["repeats"]["n_conv_per_stage"], n_conv_per_stage_decoder=v["decoder"],
            num_pool_per_axis=[2] * dim, pool_op_kernel_sizes=v["strides"], conv_kernel_sizes=v["kernels"])
    else:
        configuration["architecture"] = dict(
            network_class_name=f"dynamic_network_architectures.architectures.unet.{v['cls']}", arch_kwargs=arguments,
            _kw_requires_import=["conv_op", "norm_op", "dropout_op", "nonlin"] + v.get("requires", []))
    own = "2d" if dim == 2 else "3d_fullres"
    transpose = v.get("transpose", [0, 1, 2])
    stats = dict(mean=98.7, median=101.0, std=173.4, min=-1010.0, max=2890.0, percentile_00_5=-870.0,
                 percentile_99_5=612.3)
    plans = dict(
        dataset_name=f"Dataset901_{name}", plans_name="nnUNetPlans", image_reader_writer="SimpleITKIO",
        transpose_forward=transpose, transpose_backward=[transpose.index(i) for i in range(3)],
        original_median_spacing_after_transp=[1.5, 0.8, 0.8], original_median_shape_after_transp=[20, 20, 20],
        configurations={own: configuration}, experiment_planner_used="ExperimentPlanner", label_manager="LabelManager",
        foreground_intensity_properties_per_channel={str(c): stats for c in range(len(v["channels"]))})
    dataset = dict(channel_names={str(i): c for i, c in enumerate(v["channels"])},
                   labels=v.get("labels", {"background": 0, "b": 2, "a": 1}), numTraining=1, file_ending=".nii.gz")
    if v.get("order"):
        dataset["regions_class_order"] = v["order"]
    return plans, dataset, own


def build(name, v, out):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerBN import nnUNetTrainerBN
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
    trainer = {"nnUNetTrainerBN": nnUNetTrainerBN}.get(v.get("trainer"), nnUNetTrainer)
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    plans, dataset, configuration = plans_and_dataset(name, v)
    for file, content in (("plans.json", plans), ("dataset.json", dataset)):
        with open(os.path.join(folder, file), "w") as f:
            json.dump(content, f, indent=1)
    folds = v.get("folds", [0])
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, len(v["channels"]), *v["patch"], generator=generator)
    for i, fold in enumerate(folds):
        torch.manual_seed(100 + i)
        # The managers change what they are given, and the checkpoint gets a copy too: as in training.
        pm = PlansManager(json.loads(json.dumps(plans)))
        cm = pm.get_configuration(configuration)
        heads = pm.get_label_manager(dataset).num_segmentation_heads
        net = trainer.build_network_architecture(pm, cm, len(v["channels"]), heads, enable_deep_supervision=True)
        with torch.no_grad():  # nothing trivial, so that a forgotten bias or running mean shows
            for key, p in list(net.named_parameters()) + list(net.named_buffers()):
                if p.ndim == 1:
                    p.uniform_(0.6, 1.4) if key.endswith(("norm.weight", "running_var")) else p.uniform_(-0.3, 0.3)
        weights = net.half().state_dict() if v.get("half") else net.state_dict()
        if v.get("half"):
            key = "decoder.transpconvs.0.weight"
            weights[key] = weights[key].transpose(0, 1).contiguous().transpose(0, 1)
            assert not weights[key].is_contiguous()
        checkpoint = dict(
            network_weights=weights, optimizer_state={"state": {0: {"momentum_buffer": torch.zeros(3)}}},
            grad_scaler_state=None, logging={"ema_fg_dice": [np.float64(0.5)], "lrs": [0.01]}, _best_ema=np.float64(0.5),
            current_epoch=1, init_args=dict(plans=plans, configuration=configuration, fold=fold, dataset_json=dataset,
                                            device=torch.device("cuda")), trainer_name=trainer.__name__)
        if v["mirror"] != "missing":
            checkpoint["inference_allowed_mirroring_axes"] = v["mirror"]
        os.makedirs(os.path.join(folder, f"fold_{fold}"), exist_ok=True)
        file = os.path.join(folder, f"fold_{fold}", "checkpoint_final.pth")
        torch.save(checkpoint, file)
        if v.get("deflate"):  # PyTorch stores its entries, but also reads compressed ones
            with zipfile.ZipFile(file) as z:
                entries = [(i, z.read(i)) for i in z.infolist()]
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as z:
                for info, data in entries:
                    info.compress_type, info.extra = zipfile.ZIP_DEFLATED, b""
                    z.writestr(info, data)
    used = [f for f in folds if f != "all"] or folds
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(folder, tuple(used), "checkpoint_final.pth")
    values = [x]
    for parameters in predictor.list_of_parameters:
        predictor.network.load_state_dict(parameters)
        with torch.no_grad():
            values.append(predictor.network.eval().float()(x))
    with open(os.path.join(folder, "expected.json"), "w") as f:
        json.dump(dict(made_by="tests/golden/make_nnunet.py", version=VERSION, input_shape=list(x.shape),
                       output_shape=list(values[1].shape), folds=used), f, indent=1)
    with open(os.path.join(folder, "expected.f32"), "wb") as f:
        for value in values:
            f.write(value.numpy().astype("<f4").tobytes())
    print(folder, [tuple(value.shape) for value in values], float(values[1].std()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for variant, description in VARIANTS.items():
        build(variant, description, sys.argv[1])
