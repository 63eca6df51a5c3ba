"""What processes do that `mtl.distributed.start` joined."""

import torch

import mtl
from mtl.distributed import ranks, start
from tests.mtl.distributed.runs import model, table


def train_until_one_fails(failing: int) -> None:
    """One process's data turns out broken in the third step."""
    with start(timeout_s=60) as together:
        assert together is not None
        with start() as again:  # a second time nothing is done
            assert again is not None
            assert (again.rank, again.world) == (together.rank, together.world)

        def augment(inputs: torch.Tensor, _: torch.Generator) -> torch.Tensor:
            nonlocal steps
            steps += 1
            if steps == 3 and together.rank == failing:
                raise OSError("the disk is gone\nand more")
            return inputs

        steps = 0
        mtl.fit(model(), table(64), epochs=20, batch_size=16, augment=augment)


def train_to_the_end() -> None:
    with start(timeout_s=60) as together:
        assert together is not None
        result = mtl.fit(model(), table(32), table(8, 1), epochs=2, batch_size=16, progress=False)
        if together.rank == 0:
            print(f"{result.steps} steps")
    assert ranks() is None
