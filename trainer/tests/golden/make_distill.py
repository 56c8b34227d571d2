#!/usr/bin/env python3
"""Distillation terms and their gradients, computed by PyTorch from their formulas in double precision.

    make_distill.py OUT_FILE.safetensors

Needs torch 2.11.0. For every case: CASE.student, CASE.teacher (logits), CASE.foreground, CASE.weights (of voxels),
CASE.logit and CASE.boundary (values), CASE.logit_gradient and CASE.boundary_gradient (with respect to the student's
logits); in the metadata, the kind of heads and the spacing. For features: feature.N.held, .gradient and .lifted at two
places, feature.value, feature.N.lifted_gradient.
"""
import json, sys
import numpy as np, torch
import torch.nn.functional as F
from scipy.ndimage import maximum_filter
from make_network import save

T, BACKGROUND, BAND, EDGE = 2.0, 0.1, 3, 0.05


def weights(foreground):
    near = np.stack([maximum_filter(f, 2 * BAND + 1, mode="constant") for f in foreground.numpy()])
    return torch.tensor(np.where(near > 0, 1.0, BACKGROUND))


def logit(kind, s, t, w):
    if kind == "labels":
        kl = F.kl_div(F.log_softmax(s / T, 1), F.softmax(t / T, 1), reduction="none").sum(1)
    else:
        # Cross entropy less entropy: torch.distributions says infinity where a sigmoid rounds to 0 or 1.
        p = (t / T).sigmoid()
        cross = lambda z: F.binary_cross_entropy_with_logits(z / T, p, reduction="none")
        kl = (cross(s) - cross(t)).mean(1)
    return T * T * (kl * w).sum() / w.sum()


def boundary(kind, s, t, spacing):
    p, q = (F.softmax(s, 1)[:, 1:], F.softmax(t, 1)[:, 1:]) if kind == "labels" else (s.sigmoid(), t.sigmoid())
    def gradients(v):
        padded = F.pad(v, (1, 1, 1, 1, 1, 1), mode="replicate")
        inner = [slice(1, -1)] * 3
        out = []
        for k in range(3):
            up, down = list(inner), list(inner)
            up[k], down[k] = slice(2, None), slice(None, -2)
            out.append((padded[(..., *up)] - padded[(..., *down)]) / (2 * spacing[k]))
        return torch.stack(out, -1)
    gp, gq = gradients(p), gradients(q)
    terms = []
    for c in range(p.shape[1]):
        b = gq[:, c].norm(dim=-1) > EDGE
        if b.any():
            terms.append((gp[:, c] - gq[:, c]).abs()[b].mean())
    return torch.stack(terms).mean() if terms else 0 * s.sum()


def feature(held, gradient, lifted):
    """Mean over samples, channels and voxels of A * g * (lifted - held)^2 / (variance + 1e-5)."""
    total = 0
    for f, g, s in zip(held, gradient, lifted):
        n, k = f.shape[:2]
        for i in range(n):
            a = (g[i] * f[i]).mean(0).abs()
            a = (a / max(a.mean(), 1e-30)).clamp(0, 5)
            weight = g[i].abs().mean(dim=(1, 2, 3))
            weight = weight / max(weight.mean(), 1e-30)
            for c in range(k):
                variance = f[i, c].var(unbiased=False)
                total = total + (a * weight[c] * (s[i, c] - f[i, c]) ** 2 / (variance + 1e-5)).mean() / (n * k)
    return total / len(held)


def main(path):
    torch.manual_seed(4)
    out, facts = {}, {}
    shape = (2, 3, 6, 10, 9)
    def add(name, kind, s, t, foreground, spacing=(1.0, 1.0, 1.0)):
        s = s.float().double().requires_grad_()
        t = t.float().double()
        w = weights(foreground)
        a = logit(kind, s, t, w)
        b = boundary(kind, s, t, spacing)
        out.update({f"{name}.student": s.detach(), f"{name}.teacher": t, f"{name}.foreground": foreground, f"{name}.weights": w,
                    f"{name}.logit": a.detach(), f"{name}.boundary": b.detach(),
                    f"{name}.logit_gradient": torch.autograd.grad(a, s, retain_graph=True)[0],
                    f"{name}.boundary_gradient": torch.autograd.grad(b, s)[0]})
        facts[name] = dict(kind=kind, heads=s.shape[1], spacing=list(spacing))
    s, t = torch.randn(shape), 2 * torch.randn(shape)
    spot = torch.zeros(2, *shape[2:])
    spot[0, 1:3, 2:5, 1] = 1
    spot[1, 5, 9, 8] = 1
    add("mixed", "labels", s, t, spot)
    add("anisotropic", "labels", s, t, spot, (3.0, 1.0, 1.5))
    add("all_background", "labels", s, t + torch.tensor([30.0, 0, 0]).view(1, 3, 1, 1, 1), spot * 0)
    absent = t.clone(); absent[:, 2] -= 40
    add("absent_class", "labels", s, absent, spot)
    add("one_class", "labels", s[:, :2], t[:, :2], spot)
    add("extreme", "labels", 60 * s, 60 * t, spot)
    add("half_teacher", "labels", s, t.half(), spot)
    add("regions", "regions", s, t, spot)
    add("regions_extreme", "regions", 60 * s, 60 * t, spot)
    # The teacher is sure of the second sample: no gradient. A channel that is all zero has no variance.
    held = [torch.randn(2, 5, 4, 6, 5).float(), torch.randn(2, 8, 2, 3, 2).float()]
    held[0][0, 3] = 0
    gradient = [(torch.randn_like(h) ** 3).float() for h in held]
    gradient[1][1] = 0
    lifted = [torch.randn_like(h).double().requires_grad_() for h in held]
    value = feature([h.double() for h in held], [g.double() for g in gradient], lifted)
    out["feature.value"] = value.detach()
    for i, (h, g, s, d) in enumerate(zip(held, gradient, lifted, torch.autograd.grad(value, lifted))):
        out.update({f"feature.{i}.held": h, f"feature.{i}.gradient": g, f"feature.{i}.lifted": s.detach(),
                    f"feature.{i}.lifted_gradient": d})
    save(path, out, {"cases": json.dumps(facts)})


main(sys.argv[1])
