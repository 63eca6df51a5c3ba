"""Run directories that are torn, empty, half-written, of mixed versions or garbage: told, never a traceback."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reports
from reports import read_runs
from tests.reports.make import three_variants, write_run

SCORES = {"left": {"accuracy": 0.9}, "right": {"accuracy": 0.8}}
MUTATIONS = 6  # rounds, each of which breaks one file of every run in another way


def digest(root: Path) -> str:
    """Of every name, kind, time and byte below a folder."""
    found = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        found.update(f"{path.relative_to(root)} {path.lstat().st_mode} {path.lstat().st_mtime_ns}".encode())
        if path.is_file() and not path.is_symlink():
            found.update(path.read_bytes())
    return found.hexdigest()


def page(root: Path, tmp_path: Path) -> str:
    """The page of a folder, which building it must not change."""
    before = digest(root)
    text = reports.build(root, tmp_path / "report.html").read_text(encoding="utf-8")
    assert digest(root) == before
    return text


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three variants, two seeds each, with everything that a run can hold."""
    root = tmp_path_factory.mktemp("whole")
    return three_variants(root, seeds=2)


def truncated(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: int(rng.integers(0, max(1, len(data))))]


def flipped(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(0, max(1, len(data)), size=8):
        changed[place : place + 1] = bytes([int(rng.integers(256))])
    return bytes(changed)


def garbage(rng: np.random.Generator, data: bytes) -> bytes:
    return rng.bytes(int(rng.integers(0, 200)))


def shuffled(rng: np.random.Generator, data: bytes) -> bytes:
    lines = data.split(b"\n")
    return b"\n".join(lines[int(i)] for i in rng.integers(0, len(lines), size=len(lines)))


def numbers(rng: np.random.Generator, data: bytes) -> bytes:
    """Other numbers in the place of digits, as a faulty writer would leave them."""
    odd = [b"1e999", b"NaN", b"-1", b"99999999999999999999999", b'"x"', b"null", b"[]", b"\\ud800"]
    place = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    if not place:
        return data
    i = int(rng.choice(place))
    return data[:i] + odd[int(rng.integers(len(odd)))] + data[i + 1 :]


@pytest.mark.parametrize("seed", range(MUTATIONS))
def test_no_mutation_of_any_file_breaks_the_report(whole: Path, tmp_path: Path, seed: int) -> None:
    """One file of each run is changed; every file's turn comes, and each round changes it in another way."""
    rng = np.random.default_rng(seed)
    root = tmp_path / "runs"
    shutil.copytree(whole, root)
    ways = [truncated, flipped, garbage, shuffled, numbers]
    for k, run in enumerate(sorted(root.iterdir())):
        files = sorted(file for file in run.rglob("*") if file.is_file())
        file = files[(seed * 6 + k) % len(files)]
        file.write_bytes(ways[(seed + k) % len(ways)](rng, file.read_bytes()))
    text = page(root, tmp_path)
    assert "<h1>" in text


INFO: list[tuple[str, Any]] = [
    ("seed", "0"), ("seed", 10**30), ("seed", 1.5), ("variant", ["a"]), ("status", "dancing"), ("tasks", [{}, 3]),
    ("tasks", [{"name": "left", "metrics": [{"name": ["x"], "unit": 1, "higher_is_better": "no"}], "classes": 4}]),
    ("experiment", {"name": {"a": 1}, "question": 4, "baseline": ["b"]}), ("cost", {"step_s": "fast"}),
    ("schema", 99), ("hardware", {"cpu": {"deep": [1]}}), ("versions", []), ("command", "python"), ("error", 3),
    ("traceback", 4), ("commit", 5), ("data", {"toy": None}), ("wall_s", "long"), ("variant", "\ud800\x00\x1b[31m"),
]  # fmt: skip


def test_fields_of_the_wrong_kind(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for k, (name, value) in enumerate(INFO):
        folder = write_run(root, "equal" if k % 2 else "upgrad", k, SCORES, maps=False)
        info = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(info | {name: value}))
    text = page(root, tmp_path)
    for told in (
        "seed must be int, got str",
        "the seed must have less than 19 digits",
        "schema 99",
        "got dancing",
    ):
        assert told in text
    assert "\x1b" not in text


def object_maps(folder: Path) -> None:
    file = folder / "attributions" / "gradient" / "left.npz"
    arrays = dict(np.load(file))
    np.savez(file, **{**arrays, "maps": np.array([{"a": 1}, None], dtype=object)})


def array(name: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        arrays = dict(np.load(folder / name))
        np.savez(folder / name, **{**arrays, **changes})

    return change


def text(name: str, content: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(content)

    return change


def folder_named(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


MAPS = "attributions/gradient/left.npz"
BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "a list": (text("run.json", "[1]"), "run.json must hold a mapping, got list"),
    "deep": (text("run.json", "[" * 100_000), "run.json cannot be read"),
    "a folder": (folder_named("run.json"), "run.json cannot be read"),
    "a folder of metrics": (folder_named("metrics.jsonl"), "metrics.jsonl is a folder"),
    "no config": (text("config.yaml", "- 1"), "config.yaml must hold a mapping, got list"),
    "a tag": (text("config.yaml", "a: !!python/object:os.system x"), "config.yaml cannot be read"),
    "NaN steps": (array("dynamics.npz", step=np.array([1, np.nan, 3])), "1 rows without a step are left out"),
    "no steps": (array("dynamics.npz", step=np.array(["a", "b", "c"])), "dynamics.npz lacks step"),
    "cosines": (array("dynamics.npz", cosines=np.ones((3, 2))), "cosines must be [3, 2, 2], got [3, 2]"),
    "complex": (array("dynamics.npz", weights=np.ones((3, 2), complex)), "weights must hold numbers, got complex"),
    "objects": (object_maps, "cannot be read: Object arrays cannot be loaded"),
    "other maps": (array(MAPS, maps=np.ones((2, 5, 5))), "maps must be [2, 8, 8], got [2, 5, 5]"),
    "few labels": (array(MAPS, label=np.ones(1)), "label must be [2], got [1]"),
    "text for maps": (array(MAPS, maps=np.full((2, 8, 8), "x")), "maps must hold numbers"),
    "inputs": (array("attributions/examples.npz", inputs=np.ones(3)), "lacks inputs [N, C, H, W]"),
    "masks": (array("attributions/examples.npz", mask_0=np.ones((2, 3, 3))), "mask_0 must be [2, 8, 8]"),
    "scores": (text("attributions/scores.csv", "example,task\n0,left\n"), "lacks method, metric, region, map"),
    "sanity": (text("attributions/sanity.csv", "method,task,check,value,verdict,words\na,b,x,1,y,z\n"), "May the"),
    "half a write": (text("summary.json.tmp", "{"), "summary.json.tmp was left behind"),
}  # fmt: skip


def test_each_kind_of_damage_is_told(tmp_path: Path) -> None:
    """All kinds in one folder, beside a whole run: each has its remark, and the whole run its numbers."""
    root = tmp_path / "runs"
    write_run(root, "equal", 0, SCORES)
    for k, (change, _) in enumerate(BROKEN.values(), 1):
        change(write_run(root, "upgrad", k, SCORES))
    shown = page(root, tmp_path)
    for name, (_, told) in BROKEN.items():
        assert told in shown, name
    assert "90.0%" in shown


def test_folders_that_are_not_as_they_seem(tmp_path: Path) -> None:
    """Links in a circle, the same run by two ways, a link to nowhere, an empty folder, a stray file."""
    root = tmp_path / "runs"
    folder = write_run(root, "equal", 0, SCORES, maps=False)
    (root / "loop").symlink_to(root)
    (folder / "again").symlink_to(folder)
    (root / "copy").symlink_to(folder)
    (root / "empty").mkdir()
    (root / "torn").mkdir()
    (root / "torn" / "run.json").symlink_to(tmp_path / "nowhere")
    (root / "stray.txt").write_text("x")
    elsewhere = write_run(tmp_path / "elsewhere", "upgrad", 0, SCORES, maps=False)
    (root / "linked").symlink_to(elsewhere)
    runs = read_runs(root)
    assert sorted((run.path.name, run.status) for run in runs) == [
        ("copy", "done"), ("linked", "done"), ("torn", "unfinished"),
    ]  # fmt: skip
    assert "run.json cannot be read" in page(root, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_told(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    write_run(root, "equal", 0, SCORES, maps=False)
    folder = write_run(root, "upgrad", 0, SCORES, maps=False)
    locked = write_run(root, "locked", 0, SCORES, maps=False)
    (folder / "metrics.jsonl").chmod(0)
    locked.chmod(0)
    try:
        shown = reports.build(root, tmp_path / "report.html").read_text(encoding="utf-8")
    finally:
        locked.chmod(0o755)
    assert "metrics.jsonl cannot be read" in shown
    assert "locked--s0" in shown


def test_a_torn_run_json_does_not_make_another_experiment(tmp_path: Path) -> None:
    root = tmp_path / "runs" / "deep"
    write_run(root, "equal", 0, SCORES, maps=False)
    folder = write_run(root, "equal", 1, SCORES, maps=False)
    (folder / "run.json").write_text('{"status": "run')
    assert "1 of 2 runs did not finish" in page(root, tmp_path)


def test_a_folder_of_nothing_but_damage_is_one_line_or_a_page(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        (root / name / "run.json").write_bytes(b"\x00\xff")
    assert "No run finished" in page(root, tmp_path)
