"""``compile=True`` among several processes."""

import shutil

import pytest

from tests.mtl.distributed.processes import together
from tests.mtl.distributed.runs import compiled
from tests.mtl.distributed.test_equal import difference


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler"
)
def test_two_compiled_processes_train_as_one_eager_does() -> None:
    """Batch normalisation talks to the other process, which torch.compile cannot follow: it stays as it is."""
    one = compiled(False)
    for found in together(compiled, 2, True):
        assert difference(found, one) < 1e-6
