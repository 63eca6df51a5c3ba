"""A compiled backbone: the same numbers, the fork of the heads still found, and nothing left on the model."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import mtl
from mtl.balancing import engine
from mtl.balancing.fork import find_fork

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler"
    ),
    pytest.mark.filterwarnings("default"),  # torch's compiler warns of its own code
]
ROOT = Path(__file__).parents[2]
TASKS = (mtl.Classification("sign", classes=2), mtl.Regression("sum"))


@pytest.fixture(autouse=True)
def _in_this_process() -> Iterator[None]:
    """Compile here and not in a pool of processes, which takes longer to start than these models to compile."""
    import torch._inductor.config

    with torch._inductor.config.patch(compile_threads=1):
        yield


def table(rows: int) -> mtl.TaskData:
    inputs = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))
    return mtl.TaskData(inputs, {"sign": (inputs[:, 0] > 0).long(), "sum": inputs.sum(dim=1)})


def model() -> mtl.MultiTaskModel:
    with mtl.seeded(0):
        trunk = mtl.backbone("mlp", in_features=3, hidden=(8,), dropout=0.25)
        return mtl.MultiTaskModel(trunk, TASKS)


def weights(m: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in m.parameters()])


def test_compiled_equals_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout, an uneven last batch, several passes through the trunk, measured gradients and validation."""
    found = []

    def seen(*arguments: object) -> object:
        found.append(find_fork(*arguments))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(engine, "find_fork", seen)
    before = torch._functorch.config.donated_buffer
    for balancer in ("upgrad", "famo"):
        how = {"balancer": balancer, "epochs": 3, "batch_size": 16, "lr": 0.02, "dynamics_every": 4}
        eager = mtl.fit(model(), table(40), table(24), **how)
        found.clear()
        compiled = mtl.fit(model(), table(40), table(24), compile=True, **how)
        assert found
        assert None not in found  # the heads are passed once
        torch.testing.assert_close(weights(compiled.model), weights(eager.model), rtol=1e-4, atol=1e-6)
        for ours, theirs in zip(compiled.records, eager.records, strict=True):
            assert ours["value"] == pytest.approx(theirs["value"], rel=1e-4)
        assert compiled.model.backbone._compiled_call_impl is None
        assert list(compiled.model.state_dict()) == list(eager.model.state_dict())
    assert torch._functorch.config.donated_buffer == before


def test_compiled_in_bf16_and_micro_batches() -> None:
    how = {
        "balancer": "mgda",
        "precision": "bf16",
        "accumulate": 2,
        "steps": 4,
        "batch_size": 16,
        "clip": 1.0,
    }
    eager, compiled = (mtl.fit(model(), table(64), compile=yes, **how) for yes in (False, True))
    torch.testing.assert_close(weights(compiled.model), weights(eager.model), rtol=2e-2, atol=1e-3)


def test_without_a_compiler_the_error_says_what_to_install(tmp_path: Path) -> None:
    code = """
import torch, mtl
model = mtl.MultiTaskModel(mtl.backbone("mlp", in_features=3), [mtl.Regression("y")])
try:
    mtl.fit(model, mtl.TaskData(torch.zeros(4, 3), {"y": torch.zeros(4)}), compile=True)
except ValueError as error:
    print(error)
"""
    lacking = {
        **os.environ,
        "CXX": str(tmp_path / "none"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=lacking, capture_output=True, text=True, check=True
    )
    lines = found.stdout.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("compile=True needs a C++ compiler")
    assert "apt install g++" in lines[0]
