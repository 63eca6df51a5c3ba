"""Random outputs and labels of every dense task, some of the pixels without a label."""

import torch
import torch.nn.functional as F
from torch import Tensor

import mtl

TASKS: tuple[mtl.Task, ...] = (
    mtl.Segmentation("segmentation", classes=5),
    mtl.Depth("depth"),
    mtl.Normals("normals"),
    mtl.Boundary("boundary"),
)
N, H, W = 7, 6, 5


def outputs(seed: int = 0) -> dict[str, Tensor]:
    """{task: [N, C, H, W]}, none of them good; class 3 is never predicted."""
    draw = torch.Generator().manual_seed(seed)
    found = {task.name: torch.randn(N, task.output_size, H, W, generator=draw) for task in TASKS}
    found["segmentation"][:, 3] = -9
    return found


def targets(seed: int = 1) -> dict[str, Tensor]:
    """A fifth of the pixels of each task is missing, and the whole of example 2; class 4 is nowhere."""
    draw = torch.Generator().manual_seed(seed)
    missing = torch.rand(N, H, W, generator=draw) < 0.2
    missing[2] = True
    kinds = torch.randint(4, (N, H, W), generator=draw)
    normals = F.normalize(torch.randn(N, 3, H, W, generator=draw), dim=1)
    return {
        "segmentation": kinds.masked_fill(missing, -1).to(torch.int8),
        "depth": (0.2 + torch.rand(N, H, W, generator=draw)).masked_fill(missing, torch.nan),
        "normals": normals.masked_fill(missing[:, None], torch.nan),
        "boundary": (kinds == 0).long().masked_fill(missing, -1),
    }


def scores(rows: list[slice]) -> dict[str, dict[str, float]]:
    """All scores, the examples in batches of these rows."""
    from mtl.metrics import Scores

    made, given = outputs(), targets()
    found = Scores(TASKS)
    for part in rows:
        found.update(
            {name: output[part] for name, output in made.items()},
            {name: target[part] for name, target in given.items()},
        )
    return found.compute()


def of_this_process() -> dict[str, dict[str, float]]:
    """The same among several processes: each scores its own part, the last one nothing."""
    from mtl.distributed import ranks

    together = ranks()
    assert together is not None
    own = {2: [[slice(0, 2), slice(2, 3)], [slice(3, 7)]], 3: [[slice(0, 5)], [slice(5, 7)], []]}
    return scores(own[together.world][together.rank])
