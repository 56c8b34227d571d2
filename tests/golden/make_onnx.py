"""Networks with seeded random weights as ONNX, each with an input and PyTorch's output on it.

usage: python make_onnx.py OUTDIR            the small ones, kept beside this script in onnx/
       python make_onnx.py OUTDIR --large    nets of real size, for measuring; not kept
       python make_onnx.py OUTDIR --meshnet FOLDER   niivue's MeshNet (model.onnx, t1_crop.nii.gz) and ONNX Runtime's output

Writes NAME.onnx and NAME.f32 (little-endian f32: the input, then the output of each fold).
Needs torch, onnx, dynamic_network_architectures; for MeshNet onnxruntime and nibabel. Made with torch 2.11.0, opset 17.
"""
import argparse
import os
import numpy as np
import onnx
import torch
from torch import nn
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet


def unet(kind, dims, cin, heads, feats, strides, seed):
    torch.manual_seed(seed)
    conv, norm = (nn.Conv3d, nn.InstanceNorm3d) if dims == 3 else (nn.Conv2d, nn.InstanceNorm2d)
    n = len(feats)
    args = dict(conv_bias=True, norm_op=norm, norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU,
                nonlin_kwargs={"negative_slope": 0.01, "inplace": True}, deep_supervision=False)
    if kind == "plain":
        net = PlainConvUNet(cin, n, feats, conv, [3] * n, strides, 2, heads, 2, **args)
    else:
        net = ResidualEncoderUNet(cin, n, feats, conv, [3] * n, strides, [1] + [2] * (n - 1), heads, 1, **args)
    net.apply(PlainConvUNet.initialize)
    g = torch.Generator().manual_seed(seed + 1)
    for m in net.modules():
        if isinstance(m, (nn.InstanceNorm2d, nn.InstanceNorm3d)):
            m.weight.data = 1 + 0.2 * torch.randn(m.weight.shape, generator=g)
            m.bias.data = 0.2 * torch.randn(m.bias.shape, generator=g)
    return net.eval()


def dilated(seed, dilations=(1, 2, 4, 1)):
    """MeshNet: no resolution is lost, the field grows by dilation."""
    torch.manual_seed(seed)
    layers, c = [], 1
    for d in dilations:
        layers += [nn.Conv3d(c, 5, 3, padding=d, dilation=d), nn.BatchNorm3d(5), nn.ReLU()]
        c = 5
    net = nn.Sequential(*layers, nn.Conv3d(c, 3, 1))
    for m in net.modules():
        if isinstance(m, nn.BatchNorm3d):
            m.running_mean.normal_()
            m.running_var.uniform_(0.5, 2)
            m.weight.data.uniform_(0.5, 1.5)
    return net.eval()


class Odd(nn.Module):
    """An operator the program does not run itself, a grouped convolution, among some that it does."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.a, self.n = nn.Conv3d(1, 4, 3, stride=2, padding=1), nn.InstanceNorm3d(4, affine=True)
        self.b, self.g = nn.ConvTranspose3d(4, 4, 3, stride=2, padding=1, output_padding=1), nn.Conv3d(4, 4, 3, padding=1, groups=2)
        self.h = nn.Conv3d(4, 2, 1)

    def forward(self, x):
        return self.h(self.g(torch.sigmoid(self.b(self.n(self.a(x))))))


class Skips(nn.Module):
    """A residual encoder with max pooling, skips that are added, no biases, norms without factors, and probabilities."""

    def __init__(self, seed, head):
        super().__init__()
        torch.manual_seed(seed)
        conv = lambda i, o, k, s=1: nn.Conv3d(i, o, k, s, k // 2, bias=False)
        norm = lambda c: nn.InstanceNorm3d(c)
        relu = nn.ReLU()
        self.stem = nn.Sequential(conv(1, 4, 7, 2), norm(4), relu)
        self.pool = nn.MaxPool3d(3, 2, 1)
        self.one = nn.Sequential(conv(4, 4, 3), norm(4), relu, conv(4, 4, 3), norm(4))
        self.two, self.down = nn.Sequential(conv(4, 6, 3, 2), norm(6), relu, conv(6, 6, 3), norm(6)), nn.Sequential(nn.Conv3d(4, 6, 1, 2, bias=False), norm(6))
        self.ups = nn.ModuleList(nn.ConvTranspose3d(i, o, 2, 2) for i, o in ((6, 4), (4, 4), (4, 4)))
        self.last, self.head = nn.Conv3d(4, 2, 1), head

    def forward(self, x):
        a = self.stem(x)
        p = self.pool(a)
        b = torch.relu(self.one(p) + p)
        c = torch.relu(self.two(b) + self.down(b))
        up = torch.relu(self.ups[0](c)) + b
        up = torch.relu(self.ups[1](up)) + a
        logits = self.last(torch.relu(self.ups[2](up)))
        return torch.softmax(logits, 1) if self.head == "softmax" else torch.sigmoid(logits)


class Folds(nn.Module):
    def __init__(self, nets):
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, x):
        return tuple(n(x) for n in self.nets)


def save(out, name, net, shape, half=False):
    g = torch.Generator().manual_seed(7)
    x = torch.randn(shape, generator=g)
    with torch.no_grad():
        y = net(x)
    y = y if isinstance(y, tuple) else (y,)
    path = os.path.join(out, name + ".onnx")
    torch.onnx.export(net, x, path, input_names=["input"], output_names=[f"fold{i}" for i in range(len(y))], opset_version=17, dynamo=False)
    if half:
        model = onnx.load(path)
        for t in list(model.graph.initializer):
            v = onnx.numpy_helper.to_array(t)
            if v.dtype == np.float32:
                t.CopyFrom(onnx.numpy_helper.from_array(v.astype(np.float16), t.name + ".half"))
                model.graph.node.insert(0, onnx.helper.make_node("Cast", [t.name], [t.name[:-5]], to=onnx.TensorProto.FLOAT))
        onnx.save(model, path)
    np.concatenate([x.numpy().ravel()] + [v.numpy().ravel() for v in y]).astype("<f4").tofile(os.path.join(out, name + ".f32"))
    print(name, tuple(shape), [tuple(v.shape) for v in y], os.path.getsize(path))


def meshnet(out, folder):
    import nibabel
    import onnxruntime
    import shutil
    v = np.asarray(nibabel.load(os.path.join(folder, "t1_crop.nii.gz")).dataobj).astype(np.float32)
    lo, hi = np.percentile(v, [2, 98])
    x = np.clip((v - lo) / (hi - lo), 0, 1).astype(np.float32)
    path = os.path.join(out, "meshnet.onnx")
    shutil.copy(os.path.join(folder, "model.onnx"), path)
    y = onnxruntime.InferenceSession(path).run(None, {"input": x[None, None]})[0]
    np.concatenate([x.ravel(), y.ravel()]).astype("<f4").tofile(os.path.join(out, "meshnet.f32"))


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("--large", action="store_true")
    p.add_argument("--meshnet")
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    if a.meshnet:
        meshnet(a.out, a.meshnet)
    elif a.large:
        six, s6 = [8, 16, 32, 64, 80, 80], [1, 2, 2, 2, 2, 2]
        save(a.out, "hip", unet("plain", 3, 1, 3, [32, 64, 128, 256], [1, 2, 2, 2], 1), (1, 1, 40, 56, 40))
        save(a.out, "s4-96", unet("plain", 3, 1, 25, six, s6, 2), (1, 1, 96, 96, 96))
        save(a.out, "s4-128", unet("plain", 3, 1, 25, six, s6, 3), (1, 1, 128, 128, 128))
        save(a.out, "resenc-96", unet("res", 3, 2, 5, six, s6, 4), (1, 2, 96, 96, 96))
        save(a.out, "plane-512", unet("plain", 2, 1, 4, [32, 64, 128, 256, 512], [1, 2, 2, 2, 2], 5), (1, 1, 512, 512))
    else:
        one = [1, 2, [1, 2, 2]]
        save(a.out, "plain3d", unet("plain", 3, 1, 3, [4, 6, 8], one, 1), (1, 1, 8, 12, 20))
        save(a.out, "resenc3d", unet("res", 3, 2, 3, [4, 6, 8], [1, 2, 2], 2), (1, 2, 8, 12, 16))
        save(a.out, "plain2d", unet("plain", 2, 2, 2, [4, 8], [1, 2], 3), (1, 2, 20, 28))
        save(a.out, "dilated", dilated(4), (1, 1, 9, 11, 13))
        save(a.out, "two-folds", Folds([unet("plain", 3, 1, 2, [4, 6], [1, 2], s) for s in (5, 6)]), (1, 1, 8, 8, 12))
        save(a.out, "half", unet("plain", 3, 1, 2, [4, 6], [1, 2], 7), (1, 1, 8, 8, 8), half=True)
        save(a.out, "skips", Folds([Skips(9, "softmax"), Skips(10, "sigmoid")]), (1, 1, 16, 16, 24))
        save(a.out, "odd", Odd(8), (1, 1, 8, 10, 12))
