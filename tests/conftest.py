"""What every test shares: a fixed generator, one thread a worker, and no change of global state."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # two workers on two cores: more threads would only fight
    os.environ["OMP_NUM_THREADS"] = (
        "1"  # before numpy and torch load, and for every process that a test starts
    )

import pytest
import torch


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a GPU skip, and say why, where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU (CUDA)"))
