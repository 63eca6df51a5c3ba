"""Published tables: files in the true layout made here, the real ones where there is ../shared/data, and mistakes."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

import mtl
from mtl.data.qm9 import TARGETS, pair_counts
from mtl.data.tox21 import TASKS as TESTS

SHARED = Path(__file__).parents[3] / "shared" / "data"


def real(folder: str) -> Path:
    """A folder of real files, or skip."""
    if not (SHARED / folder).is_dir():
        pytest.skip(f"needs the files in {SHARED / folder}")
    return SHARED / folder


def sarcos_files(root: Path, rows: int = 60) -> np.ndarray:
    table = np.random.default_rng(0).normal(size=(rows, 28))
    savemat(root / "sarcos_inv_test.mat", {"sarcos_inv_test": table})
    return table


def school_file(root: Path, sizes: tuple[int, ...] = (10, 30, 8)) -> None:
    draw = np.random.default_rng(0)
    x, y = (np.empty((1, len(sizes)), dtype=object) for _ in range(2))
    for k, n in enumerate(sizes):
        x[0, k] = draw.integers(0, 2, size=(n, 28)).astype(np.uint8)
        y[0, k] = draw.integers(1, 71, size=(n, 1)).astype(np.uint8)
    savemat(root / "school.mat", {"X": x, "Y": y})


def adult_files(root: Path) -> list[str]:
    rows = [
        f"{20 + k}, {('Private', '?')[k % 2]}, 77516, {('Bachelors', '9th')[k % 2]}, 13, "
        f"{('Never-married', 'Divorced')[k % 2]}, Sales, Husband, White, Male, {100 * k}, 0, 40, Cuba, "
        f"{('<=50K', '>50K')[k % 2]}"
        for k in range(20)
    ]
    (root / "adult.data").write_text("\n".join([*rows, ""]))
    (root / "adult.test").write_text(
        "\n".join(["|1x3 Cross validator", *(f"{row}." for row in rows[:6]), ""])
    )
    return rows


def tox21_file(root: Path) -> list[str]:
    labels = ["1.0", "0.0", ""]
    rows = [",".join([*TESTS, "mol_id", "smiles"])]
    for k in range(60):
        found = [labels[(k + j) % 3] for j in range(12)]
        rows.append(",".join([*found, f"TOX{k}", "C" * (1 + k % 50) + "[NH2+]Cl"]))
    with gzip.open(root / "tox21.csv.gz", "wt") as packed:
        packed.write("\n".join(rows) + "\n")
    return rows


def qm9_files(root: Path, rows: int = 30) -> None:
    draw = np.random.default_rng(0)
    y = draw.normal(size=(rows, 15))
    lines = [",".join(["Index", "SMILES", "N_atoms", *TARGETS])]
    lines += [",".join([str(k), "CO"[: 1 + k % 2] + "N", "3", *map(str, y[k])]) for k in range(rows)]
    (root / "qm9_scalars.csv").write_text("\n".join(lines) + "\n")
    atoms = np.zeros((rows, 29), dtype=np.uint8)
    atoms[:, :3] = [8, 1, 1]
    places = draw.normal(size=(rows, 29, 3)).astype(np.float32)
    np.savez(root / "qm9_xyz_10k.npz", Z=atoms, R=places, y=y, y_names=np.array(list(TARGETS)))


def test_sarcos_of_the_test_file_alone_is_split(tmp_path: Path) -> None:
    table = sarcos_files(tmp_path)
    data = mtl.dataset("sarcos", root=tmp_path)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [36, 12, 12]
    torques = torch.cat([s.targets["torque_3"] for s in (data.train, data.validation, data.test)])
    assert torch.equal(torques.sort().values, torch.from_numpy(table[:, 23]).float().sort().values)
    torch.testing.assert_close(data.train.inputs.mean(dim=0), torch.zeros(21), atol=1e-5, rtol=0)


def test_sarcos_leaves_test_rows_out_of_training(tmp_path: Path) -> None:
    """The published training file holds most rows of the test file."""
    test = sarcos_files(tmp_path)
    own = np.random.default_rng(1).normal(size=(80, 28))
    savemat(tmp_path / "sarcos_inv.mat", {"sarcos_inv": np.concatenate([own[:40], test[:30], own[40:]])})
    data = mtl.dataset("sarcos", root=tmp_path)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [70, 10, 60]


def test_school_gives_every_pupil_to_one_task(tmp_path: Path) -> None:
    school_file(tmp_path)
    data = mtl.dataset("school", root=tmp_path)
    assert [task.name for task in data.tasks] == ["school_001", "school_002", "school_003"]
    for split, counts in ((data.train, [6, 18, 5]), (data.validation, [2, 4, 1]), (data.test, [2, 8, 2])):
        there = torch.stack([~target.isnan() for target in split.targets.values()])
        assert torch.equal(there.sum(dim=0), torch.ones(len(split)))
        assert there.sum(dim=1).tolist() == counts


def test_adult_reads_both_files_as_published(tmp_path: Path) -> None:
    adult_files(tmp_path)
    data = mtl.dataset("adult", root=tmp_path)
    assert [(t.name, t.output_size) for t in data.tasks] == [
        ("income", 2),
        ("education", 16),
        ("marital-status", 7),
    ]
    assert [len(s) for s in (data.train, data.validation, data.test)] == [16, 4, 6]
    assert data.test.targets["income"].tolist() == [
        0,
        1,
        0,
        1,
        0,
        1,
    ]  # with a full stop behind each in this file
    assert "workclass: missing" in data.feature_names
    assert not any(name.startswith(("education", "relationship", "fnlwgt")) for name in data.feature_names)


def test_tox21_keeps_a_molecule_in_one_split(tmp_path: Path) -> None:
    tox21_file(tmp_path)
    data = mtl.dataset("tox21", root=tmp_path, features=50)
    assert len(data.tasks) == 12
    assert data.tasks[0].metrics[0].name == "roc_auc"
    whole = (data.train, data.validation, data.test)
    assert sum(len(s) for s in whole) == 60
    missing = torch.cat([s.targets["NR-AR"] for s in whole]) == -1
    assert int(missing.sum()) == 20
    counts = [{tuple(row.tolist()) for row in s.inputs} for s in whole]
    assert not counts[0] & counts[2]


@pytest.mark.parametrize("source", ["geometry", "smiles"])
def test_qm9_from_either_file(tmp_path: Path, source: str) -> None:
    qm9_files(tmp_path)
    data = mtl.dataset("qm9", root=tmp_path, source=source)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [24, 3, 3]
    assert [task.name for task in data.tasks][:4] == ["RotA", "RotB", "RotC", "dipole"]
    assert {task.metrics[0].name for task in data.tasks} == {"mae"}
    few = mtl.dataset("qm9", root=tmp_path, source=source, rows=20)
    assert len(few.train) == 16


def test_a_pair_that_training_molecules_hardly_have_is_not_blown_up(tmp_path: Path) -> None:
    qm9_files(tmp_path)
    with np.load(tmp_path / "qm9_xyz_10k.npz") as packed:
        arrays = dict(packed)
    places = np.zeros_like(arrays["R"])
    places[:, 1, 0], places[:, 2, 0] = 1.0, 2.0  # at 8.0 Angstrom only the smoothing's tail
    learned = mtl.dataset("qm9", root=tmp_path).test.targets["RotA"]
    tested = np.isin(arrays["y"][:, 0].astype(np.float32), learned.numpy())
    places[tested, 2, 0] = 8.0
    np.savez(tmp_path / "qm9_xyz_10k.npz", **{**arrays, "R": places})
    data = mtl.dataset("qm9", root=tmp_path)
    far = data.feature_names.index("H-O 8.0")
    assert data.train.inputs[:, far].abs().max() < 1e-3
    assert data.test.inputs[:, far].max() == pytest.approx(1 / 0.05, rel=0.01)


def test_pair_counts_do_not_depend_on_order_or_place() -> None:
    draw = np.random.default_rng(0)
    atoms, places = np.array([[6, 1, 8, 0]]), draw.normal(size=(1, 4, 3))
    found = pair_counts(atoms, places)
    order, turn = [2, 0, 1, 3], np.linalg.qr(draw.normal(size=(3, 3)))[0]
    again = pair_counts(atoms[:, order], places[:, order] @ turn + 3.0)
    for name, column in found.items():
        np.testing.assert_allclose(again[name], column, atol=1e-9)
    assert sum(float(column[0]) for name, column in found.items() if "-" not in name) == 3


REAL = {
    "sarcos": ("sarcos", 7, 4449),
    "adult": ("adult", 3, 48842),
    "tox21": ("molnet_tox", 12, 8014),
    "school": ("school", 139, 15362),
    "qm9": ("qm9", 15, 10000),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_the_real_files(name: str) -> None:
    folder, tasks, rows = REAL[name]
    data = mtl.dataset(name, root=real(folder))
    assert len(data.tasks) == tasks
    assert len(data.train) + len(data.validation) + len(data.test) == rows


MAKE = {
    "sarcos": sarcos_files,
    "school": school_file,
    "adult": adult_files,
    "tox21": tox21_file,
    "qm9": qm9_files,
}


@pytest.mark.parametrize("name", MAKE)
def test_the_same_seed_gives_the_same_data(tmp_path: Path, name: str) -> None:
    MAKE[name](tmp_path)
    one, two, other = (mtl.dataset(name, root=tmp_path, seed=seed) for seed in (0, 0, 1))
    assert one.fingerprint() == two.fingerprint() != other.fingerprint()


@pytest.mark.parametrize("name", MAKE)
def test_what_is_missing_and_where_to_get_it_is_one_line(tmp_path: Path, name: str) -> None:
    for root, message in (
        (tmp_path, "holds no .*get it from"),
        (tmp_path / "none", r"is no folder.*\(from "),
    ):
        with pytest.raises(FileNotFoundError, match=message) as error:
            mtl.dataset(name, root=root)
        assert f"data set '{name}'" in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", MAKE)
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, name: str) -> None:
    MAKE[name](tmp_path)
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        file.write_bytes(content[: int(0.7 * len(content))])
    with pytest.raises(ValueError, match=r"cut off|fields|cannot be read") as error:
        mtl.dataset(name, root=tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_values_that_are_not_as_published_name_file_and_row(tmp_path: Path) -> None:
    rows = adult_files(tmp_path)
    for old, new, message in (
        ("9th", "11.5th", r"adult\.data, row 2: column 'education' must be one of Preschool.*got '11\.5th'"),
        (">50K", "rich", r"row 2: column 'income' must be one of <=50K, >50K, got 'rich'"),
        ("21,", "?,", r"row 2: column 'age' must be a finite number, got '\?'"),
    ):
        (tmp_path / "adult.data").write_text("\n".join([rows[0], rows[1].replace(old, new), *rows[2:]]))
        with pytest.raises(ValueError, match=message):
            mtl.dataset("adult", root=tmp_path)
    lines = tox21_file(tmp_path)
    (tmp_path / "tox21.csv").write_text("\n".join([*lines[:3], lines[3].replace("1.0", "2.0"), *lines[4:]]))
    with pytest.raises(
        ValueError, match=r"tox21\.csv, row 3: column 'NR-AR-LBD' must be one of 0, 1, got '2'"
    ):
        mtl.dataset("tox21", root=tmp_path)
    (tmp_path / "tox21.csv").write_text("\n".join(line.replace("smiles", "text") for line in lines))
    with pytest.raises(ValueError, match="has no column smiles"):
        mtl.dataset("tox21", root=tmp_path)
    savemat(tmp_path / "sarcos_inv_test.mat", {"sarcos_inv_test": np.zeros((5, 27))})
    with pytest.raises(ValueError, match=r"must be \[rows, 28\], got \[5, 27\]"):
        mtl.dataset("sarcos", root=tmp_path)
    savemat(tmp_path / "sarcos_inv_test.mat", {"sarcos": np.zeros((5, 28))})
    with pytest.raises(ValueError, match=r"holds no array 'sarcos_inv_test', only \['sarcos'\]"):
        mtl.dataset("sarcos", root=tmp_path)
    table = np.zeros((9, 28))
    table[4, 2] = np.nan
    savemat(tmp_path / "sarcos_inv_test.mat", {"sarcos_inv_test": table})
    with pytest.raises(ValueError, match="row 5: a value is not finite"):
        mtl.dataset("sarcos", root=tmp_path)
    school_file(tmp_path, sizes=(10, 2))
    with pytest.raises(ValueError, match=r"school 2: X must be \[pupils, 28\].*at least 3"):
        mtl.dataset("school", root=tmp_path)
