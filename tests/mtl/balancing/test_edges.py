"""What balancers answer where gradients vanish, agree or oppose: as the table in docs/balancers.md says."""

import re
from pathlib import Path

import pytest
import torch

import mtl

G = torch.tensor([0.6, 0.8], dtype=torch.float64)
PAIRS = {"g and 0": [1.0, 0.0], "g and g": [1.0, 1.0], "g and -g": [1.0, -1.0], "g and -2 g": [1.0, -2.0]}


def table() -> dict[str, list[str]]:
    """{balancer: the cells of its row}."""
    text = (Path(__file__).parents[3] / "docs" / "balancers.md").read_text(encoding="utf-8")
    section = text.split("## Where gradients vanish, agree or oppose")[1].split("\n## ")[0]
    found, columns = {}, []
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| balancers"):
            columns = cells[1:]
        for name in re.findall("`([a-z_]+)`", cells[0]) if line.startswith("| `") else []:
            found[name] = cells[1:]
    assert columns == list(PAIRS)
    return found


def test_every_balancer_has_a_row() -> None:
    assert set(table()) == set(mtl.BALANCERS)


@pytest.mark.parametrize("name", mtl.BALANCERS)
def test_the_table_is_true(name: str) -> None:
    for cell, factors in zip(table()[name], PAIRS.values(), strict=True):
        rows = torch.stack([factor * G for factor in factors])
        for scale in (1.0, 1e-12, 1e12) if name not in UNITS else (1.0,):
            found = mtl.combine(scale * rows, name, losses=[1.0, 1.0], seed=1) / scale
            assert found.isfinite().all()
            if cell == "drawn":
                other = [mtl.combine(rows, name, losses=[1.0, 1.0], seed=seed) for seed in range(8)]
                assert any(not torch.equal(found, one) for one in other)
            else:
                torch.testing.assert_close(found, float(cell) * G, rtol=0, atol=1e-3)


# their answer follows no common factor of the gradients
UNITS = ("nash_mtl", "fairgrad", "moco", "modo")
