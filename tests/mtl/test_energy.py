"""Energy from files in the layout of Linux's powercap."""

import math
from pathlib import Path

import pytest
import torch

from mtl.training.energy import Energy
from mtl.training.meter import Meter

CPU = torch.device("cpu")


def zone(root: Path, name: str, kind: str, microjoules: int, size: int = 1_000_000_000) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "max_energy_range_uj").write_text(f"{size}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_packages_add_up_and_their_parts_do_not(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 1_000_000)
    inside = zone(tmp_path, "intel-rapl:0:0", "core", 0)
    platform = zone(tmp_path, "intel-rapl:2", "psys", 0)  # the whole machine: it holds the packages
    energy = Energy(CPU, tmp_path)
    energy.start()
    for file in (inside, platform):
        file.write_text("900000000")
    first.write_text("7500000")
    second.write_text("2000000")
    energy.stop()
    assert energy.joules == pytest.approx(3.5)


def test_what_is_used_between_does_not_count(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    energy = Energy(CPU, tmp_path)
    for start, stop in ((0, 1), (5, 7)):
        file.write_text(str(start * 1_000_000))
        energy.start()
        file.write_text(str(stop * 1_000_000))
        energy.stop()
    assert energy.joules == pytest.approx(3)


def test_a_counter_that_begins_anew(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000, size=10_000_000)
    energy = Energy(CPU, tmp_path)
    energy.start()
    file.write_text("1000000")
    energy.stop()
    assert energy.joules == pytest.approx(2)


@pytest.mark.parametrize("broken", ["energy_uj", "max_energy_range_uj", "name"])
def test_what_cannot_be_read_gives_no_number(tmp_path: Path, broken: str) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (file.parent / broken).unlink()
    energy = Energy(CPU, tmp_path)
    energy.start()
    energy.stop()
    assert math.isnan(energy.joules)


def test_the_meter_counts_steps_alone(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = Meter(CPU)
    meter.energy = Energy(CPU, tmp_path)
    with meter.step():
        file.write_text("2000000")
    file.write_text("9000000")  # a validation, say
    with meter.step():
        file.write_text("9500000")
    assert meter.energy.joules == pytest.approx(2.5)
