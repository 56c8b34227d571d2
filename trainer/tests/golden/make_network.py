#!/usr/bin/env python3
"""Small networks, their losses, gradients and ten steps, computed by PyTorch and nnU-Net's own classes.

    make_network.py OUT_FOLDER

Needs torch 2.11.0 and nnunetv2 2.8.1. For every network OUT_FOLDER receives NAME.safetensors (single precision):

    weight.P        the first weights, P being nnU-Net's short name (that of the encoder or decoder module)
    image, labels   one batch, labels as numbers
    logits.I        output I, the full resolution first
    dice.I, ce.I    both terms of the loss at output I
    loss            the deep-supervised sum
    gradient.P      its gradient
    losses          the losses of ten steps of SGD on that batch, nnU-Net's settings, gradients clipped to 12

and in its metadata what the network and its targets are, as JSON. losses.safetensors holds edge cases of the loss alone:
NAME.logits, NAME.labels, NAME.dice, NAME.ce, NAME.gradient (of the sum of both terms).
"""
import json, struct, sys
import numpy as np, torch
from torch import nn
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform

torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)


def save(path, tensors, metadata):
    header, blobs, end = {"__metadata__": metadata}, [], 0
    for name, value in tensors.items():
        value = np.ascontiguousarray(np.asarray(value, dtype="<f4"))
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [end, end + value.nbytes]}
        end += value.nbytes
        blobs.append(value.tobytes())
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def short(net):
    """Parameters by their first name; copies (all_modules, decoder.encoder) share storage and are left out by PyTorch."""
    return dict(net.named_parameters())


def region_channels(labels, regions, ignore):
    """nnU-Net's ConvertSegmentationToRegions: one channel a region, and the ignore label as a last one."""
    groups = [r if isinstance(r, (list, tuple)) else [r] for r in regions] + ([[ignore]] if ignore is not None else [])
    return torch.cat([torch.isin(labels, torch.tensor(g)) for g in groups], 1)


def loss_for(targets, batch_dice):
    if targets["kind"] == "regions":
        return DC_and_BCE_loss({}, dict(batch_dice=batch_dice, do_bg=True, smooth=1e-5, ddp=False),
                               use_ignore_label=targets["ignore"] is not None, dice_class=MemoryEfficientSoftDiceLoss)
    return DC_and_CE_loss(dict(batch_dice=batch_dice, smooth=1e-5, do_bg=False, ddp=False), {}, weight_ce=1, weight_dice=1,
                          ignore_label=targets["ignore"], dice_class=MemoryEfficientSoftDiceLoss)


def terms(loss, logits, target):
    both = loss(logits, target).detach()
    loss.weight_ce, kept = 0, loss.weight_ce
    dice = loss(logits, target).detach()
    loss.weight_ce = kept
    return dice, both - dice


def one(path, name, residual, kwargs, patch, targets, batch_dice, seed):
    torch.manual_seed(seed)
    cls = ResidualEncoderUNet if residual else PlainConvUNet
    net = cls(deep_supervision=True, conv_op=nn.Conv3d, norm_op=nn.InstanceNorm3d, norm_op_kwargs=dict(eps=1e-5, affine=True),
              nonlin=nn.LeakyReLU, nonlin_kwargs=dict(inplace=True), conv_bias=True, **kwargs)
    net.apply(InitWeights_He(1e-2))
    # Norms and biases away from where they begin, so that each of them is seen.
    for key, p in short(net).items():
        if p.ndim == 1:
            with torch.no_grad():
                p.add_(0.1 * torch.randn_like(p))
    heads = kwargs["num_classes"]
    image = torch.randn(2, kwargs["input_channels"], *patch)
    values = list(range(heads)) if targets["kind"] == "labels" else sorted({0} | {v for r in targets["regions"] for v in r})
    labels = torch.tensor(values)[torch.randint(0, len(values), (2, 1, *patch))]
    if targets["ignore"] is not None:
        labels[torch.rand(labels.shape) < 0.2] = targets["ignore"]
    strides = np.cumprod(np.array(kwargs["strides"]), 0)[:-1]
    scales = [list(1 / s) for s in strides]
    wanted = labels if targets["kind"] == "labels" else region_channels(labels, targets["regions"], targets["ignore"])
    down = DownsampleSegForDSTransform(scales)
    parts = [down._apply_to_segmentation(w) for w in wanted]
    wanted = [torch.stack([p[i] for p in parts]) for i in range(len(scales))]
    if targets["kind"] == "labels":
        wanted = [w.long() for w in wanted]
    weights = np.array([1 / 2**i for i in range(len(scales))])
    weights[-1] = 0
    inner = loss_for(targets, batch_dice)
    deep = DeepSupervisionWrapper(inner, weights / weights.sum())

    out = {f"weight.{k}": p.detach().clone() for k, p in short(net).items()}
    out |= {"image": image, "labels": labels[:, 0].float()}
    logits = net(image)
    for i, (l, w) in enumerate(zip(logits, wanted)):
        out[f"logits.{i}"] = l.detach()
        out[f"dice.{i}"], out[f"ce.{i}"] = terms(inner, l, w)
    loss = deep(logits, wanted)
    loss.backward()
    out["loss"] = loss.detach()
    for k, p in short(net).items():
        out[f"gradient.{k}"] = torch.zeros_like(p) if p.grad is None else p.grad.clone()
    optimiser = torch.optim.SGD(net.parameters(), 1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5)
    losses = []
    for _ in range(10):
        optimiser.zero_grad(set_to_none=True)
        step = deep(net(image), wanted)
        step.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 12)
        optimiser.step()
        losses.append(step.item())
    out["losses"] = torch.tensor(losses)
    kinds = dict(residual=residual, patch=patch, targets=targets, batch_dice=batch_dice,
                 **{k: v for k, v in kwargs.items()})
    save(f"{path}/{name}.safetensors", out, {"network": json.dumps(kinds)})


def edges(path):
    torch.manual_seed(9)
    out, facts = {}, {}
    labels3 = dict(kind="labels", ignore=None)
    def add(name, targets, logits, labels, batch_dice=False):
        logits = logits.clone().requires_grad_()
        loss = loss_for(targets, batch_dice)
        wanted = labels if targets["kind"] == "labels" else region_channels(labels, targets["regions"], targets["ignore"])
        dice, ce = terms(loss, logits, wanted)
        loss(logits, wanted).backward()
        out.update({f"{name}.logits": logits.detach(), f"{name}.labels": labels[:, 0].float(), f"{name}.dice": dice,
                    f"{name}.ce": ce, f"{name}.gradient": logits.grad})
        facts[name] = dict(targets=targets, batch_dice=batch_dice, heads=logits.shape[1])
    shape = (2, 1, 3, 4, 5)
    logits = torch.randn(2, 3, *shape[2:])
    mixed = torch.randint(0, 3, shape)
    add("mixed", labels3, logits, mixed)
    add("batch_dice", labels3, logits, mixed, True)
    add("absent_class", labels3, logits, mixed.clamp(max=1))
    add("all_background", labels3, logits, mixed * 0)
    add("extreme", labels3, logits * 200, mixed)
    add("ignore", dict(kind="labels", ignore=3), logits, torch.where(torch.rand(shape) < 0.3, 3, mixed))
    add("all_ignored", dict(kind="labels", ignore=3), logits, mixed * 0 + 3)
    regions = dict(kind="regions", regions=[[1, 2], [2]], ignore=None)
    add("regions", regions, logits[:, :2], mixed)
    add("regions_ignore", regions | dict(ignore=3), logits[:, :2], torch.where(torch.rand(shape) < 0.3, 3, mixed), True)
    save(f"{path}/losses.safetensors", out, {"cases": json.dumps(facts)})


if __name__ == "__main__":
    path = sys.argv[1]
    plain = dict(input_channels=1, num_classes=3, n_stages=3, features_per_stage=[4, 6, 8], kernel_sizes=[[3, 3, 3]] * 3,
                 strides=[[1, 1, 1], [2, 2, 2], [2, 2, 2]], n_conv_per_stage=[2, 2, 2], n_conv_per_stage_decoder=[2, 2])
    one(path, "plain", False, plain, [8, 12, 8], dict(kind="labels", ignore=None), False, 1)
    flat = plain | dict(input_channels=2, num_classes=2, kernel_sizes=[[1, 3, 3], [3, 3, 3], [3, 3, 3]],
                        strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]])
    one(path, "regions", False, flat, [6, 12, 8], dict(kind="regions", regions=[[1, 2], [2]], ignore=3), True, 2)
    residual = {k: v for k, v in plain.items() if k != "n_conv_per_stage"} | dict(n_blocks_per_stage=[1, 2, 2], n_conv_per_stage_decoder=[1, 1])
    one(path, "residual", True, residual, [8, 8, 12], dict(kind="labels", ignore=3), True, 3)
    edges(path)
