"""Eigen-CAM: the strongest pattern of a layer's activations, whatever the task."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from explain.methods.cam import check, run, spread
from explain.methods.cam_layout import Kind
from explain.scorer import Scorer

TIED = 1e-9  # of the largest eigenvalue: two patterns as strong as each other in float64


@dataclass(frozen=True, kw_only=True)
class EigenCam:
    """Eigen-CAM: the activation at each place, projected on its first right singular vector over the channels.

    It knows nothing of tasks or classes: every task gets the same map, that of the layer which all of them use. The
    activations are not centred, as in the paper; the sign, which a singular vector leaves open, is the one with
    a positive sum over the map. Source: Muhammad and Yeasin 2020, section III. Cost: one forward, and in float64 the
    eigenvectors of the smaller of the two Gram matrices, places or channels.

    Args:
        layer: as in ``grad_cam``.
        relu: keep only the positive part; after a ReLU nothing else is there.
        layout: as in ``grad_cam``.
    """

    layer: str | nn.Module | None = None
    relu: bool = False
    layout: Kind | None = None

    def __post_init__(self) -> None:
        check("eigencam", self)

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        del seed
        seen = run("eigencam", self, scorer, inputs, gradients=False)
        cam, tied = first_pattern(seen.activation)
        if tied.any():
            raise ValueError(
                f"eigencam: example {first + int(tied.nonzero()[0, 0])} has two patterns of equal strength, and no map "
                "is the first; choose another layer or method"
            )
        return spread([cam], self.relu, scorer, inputs, seen.place) * len(scorer.tasks)


def first_pattern(activation: Tensor) -> tuple[Tensor, Tensor]:
    """(O V_1 as maps [B, 1, h, w], whether the first singular value is tied [B]) of O = activation [B, c, h, w].

    >>> places = torch.tensor([[[[3.0, 4.0]], [[0.0, 0.0]]]])  # one channel speaks: the map is that channel
    >>> first_pattern(places)[0].tolist()
    [[[[3.0, 4.0]]]]
    """
    matrix = activation.flatten(2).double()  # O transposed: [B, c, places]
    channels, places = matrix.shape[1:]
    by_place = places <= channels
    gram = matrix.mT @ matrix if by_place else matrix @ matrix.mT
    values, vectors = torch.linalg.eigh(gram)
    top = vectors[:, :, -1]  # [B, places] or [B, c]
    cam = top * values[:, -1:].clamp(min=0).sqrt() if by_place else (matrix * top[:, :, None]).sum(1)
    cam = torch.where(cam.sum(1, keepdim=True) < 0, -cam, cam)
    tied = torch.zeros(len(cam), dtype=torch.bool, device=cam.device)
    if values.shape[1] > 1:
        tied = (values[:, -1] - values[:, -2] <= TIED * values[:, -1]) & (values[:, -1] > 0)
    return cam.reshape(len(cam), 1, *activation.shape[2:]).to(activation.dtype), tied
