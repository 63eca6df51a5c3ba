"""A small model with dense tasks and others over one pyramid, its data, and runs of it for several processes."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mtl
from mtl.distributed import ranks

TASKS: tuple[mtl.Task, ...] = (
    mtl.Segmentation("segmentation", classes=3),
    mtl.Depth("depth"),
    mtl.Normals("normals"),
    mtl.Boundary("boundary"),
    mtl.Regression("counts", size=2),
    mtl.Classification("relation", classes=3),
)


def data(rows: int, seed: int = 0) -> mtl.TaskData:
    """Pictures of 12 x 10 pixels in float64 whose labels follow from them; some missing, for whole rows too."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(rows, 3, 12, 10, generator=draw, dtype=torch.float64)
    missing = torch.rand(rows, 12, 10, generator=draw) < 0.2
    missing[::3] = True
    bright = images.mean(dim=1)
    return mtl.TaskData(
        images,
        {
            "segmentation": images.argmax(dim=1).masked_fill(missing, -1).to(torch.int8),
            "depth": (0.1 + bright).masked_fill(missing.roll(1, 0), torch.nan),
            "normals": F.normalize(images - 0.5, dim=1).masked_fill(missing.roll(2, 0)[:, None], torch.nan),
            "boundary": (bright > 0.6).long().masked_fill(missing, -1),
            "counts": torch.stack([bright.mean(dim=(1, 2)), images[:, 0].mean(dim=(1, 2))], dim=1),
            "relation": images.mean(dim=(2, 3)).argmax(dim=1),
        },
    )


class Dense(mtl.MultiTaskModel):
    """With batches of its own, as the balancing tests ask for them."""

    dtype = torch.float64

    def batch(self, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        given = data(4, seed)
        return given.inputs.to(self.dtype), {
            name: target.to(self.dtype) if target.is_floating_point() else target
            for name, target in given.targets.items()
        }


def model(normalised: bool = True, seed: int = 0) -> Dense:
    """Seeded by the rank: `mtl.fit` is to give all the first one's weights."""
    group = ranks()
    with mtl.seeded(seed if group is None else seed + group.rank):
        body = mtl.backbone("pyramid/convnet", widths=(4, 6, 8), pool=2, stride=1)
        if not normalised:
            for stage in body.children():
                stage[1], stage[4] = nn.Identity(), nn.Identity()
        return Dense(body, TASKS).double()


def fitted() -> dict[str, Any]:
    """{name: weights and records} of short runs; batches of 8 and a last one of 3 rows."""
    found: dict[str, Any] = {}
    how: dict[str, Any] = {"epochs": 1, "batch_size": 8, "lr": 0.01, "seed": 4, "dynamics_every": 2}
    runs: dict[str, dict[str, Any]] = {
        name: {"balancer": name} for name in ("equal", "upgrad", "famo", "graddrop")
    }
    runs["features"] = {"balancer": mtl.Balancer("mgda", level="features")}
    runs["accumulated"] = {"balancer": "cagrad", "accumulate": 2}
    for name, options in runs.items():
        net = model(normalised="accumulate" not in options)
        result = mtl.fit(net, data(19), data(5, 1), **how, **options)
        found[name] = [
            [tensor.detach().clone() for tensor in result.model.state_dict().values()],
            torch.tensor([record["value"] for record in result.records], dtype=torch.float64).nan_to_num(-1),
        ]
    return found
