"""QM9: fifteen properties of 130,831 small molecules, from their text, or of 10,000 of them from their geometry."""

from __future__ import annotations

from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mtl.data.columns import joined, shares, splits, standardised
from mtl.data.files import find, need_columns, numbers, read_csv
from mtl.data.molecules import pieces
from mtl.data.task_data import Splits, split_rows
from mtl.names import lookup
from mtl.tasks import Regression
from mtl.training.streams import generator

# the columns as published: (task, unit)
TARGETS = {
    "RotA_GHz": ("RotA", "GHz"),
    "RotB_GHz": ("RotB", "GHz"),
    "RotC_GHz": ("RotC", "GHz"),
    "Dipole_debye": ("dipole", "debye"),
    "Polarizability_bohr3": ("polarizability", "bohr³"),
    "HOMO_au": ("HOMO", "hartree"),
    "LUMO_au": ("LUMO", "hartree"),
    "HOMO_LUMO_gap_au": ("gap", "hartree"),
    "R2_bohr2": ("R2", "bohr²"),
    "ZPVE_au": ("ZPVE", "hartree"),
    "InternalEnergy_0K_au": ("U0", "hartree"),
    "InternalEnergy_298K_au": ("U", "hartree"),
    "Enthalphy_298K_au": ("H", "hartree"),
    "GibbsFreeEnergy_298K_au": ("G", "hartree"),
    "Heatcapacity_Cv_cal_mol_K": ("Cv", "cal/(mol K)"),
}
ATOMS = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F"}
DISTANCES = np.linspace(0.8, 8.0, 19)  # Angstrom; the middles of the bins
LEAST = 0.05  # deviation of a count of pairs; tails of the smoothing alone are of 1e-6 and less
FILES = {"smiles": "qm9_scalars.csv", "geometry": "qm9_xyz_10k.npz"}
WHERE = (
    "the package qm9pack: its tables joined, or 10,000 molecules with Z, R, y, y_names; docs/data.md says how"
)


def qm9(
    *,
    root: str | Path,
    source: Literal["smiles", "geometry"] = "geometry",
    rows: int | None = None,
    features: int = 512,
    seed: int = 0,
) -> Splits:
    """Fifteen regression tasks, scored by the mean absolute error; split 80/10/10.

    The loss is Huber's, of targets over the spread of their middle half: some rotational constants are a
    thousand times the others.

    Args:
        root: the folder with ``qm9_scalars.csv.gz`` or ``qm9_xyz_10k.npz``.
        source: inputs from ``"geometry"``: smoothed counts of atom pairs by kind and distance, and counts of atoms; or
            from ``"smiles"``: counts of pieces of the text.
        rows: so many molecules, drawn; None: all.
        features: how many pieces are counted.
        seed: of the split.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: columns or arrays that are not there, or a value that is no number.

    Source: Ramakrishnan et al. 2014.
    """
    file = find("qm9", root, [lookup("source of qm9", source, FILES)], WHERE)
    draw = generator(seed, "qm9")
    texts: list[str] = []
    if source == "smiles":
        table = read_csv(file)
        need_columns(file, table, ["SMILES", *TARGETS])
        values = np.stack([numbers(file, table[column]) for column in TARGETS], axis=1)
        texts = table["SMILES"].tolist()
    else:
        atoms, places, values = _geometry(file)
    count = len(values) if rows is None else rows
    parts = split_rows(len(values), shares(count, 0.8, 0.1), draw)
    if source == "smiles":
        inputs, names = pieces(texts, parts[0], most=features)
    else:
        columns = pair_counts(atoms, places)
        inputs, names = joined([standardised(n, c, parts[0], least=LEAST) for n, c in columns.items()])
    targets, tasks = {}, []
    for (task, unit), column in zip(TARGETS.values(), values.T, strict=True):
        targets[task] = torch.from_numpy(column).float()
        tasks.append(
            Regression(task, unit=unit, loss="huber", primary="mae", **_middle(targets[task][parts[0]]))
        )
    return splits("qm9", tasks, inputs, targets, parts, names)


def pair_counts(atoms: np.ndarray, places: np.ndarray) -> dict[str, np.ndarray]:
    """Counts of atoms by kind, and of pairs by kinds and distance, each pair spread over the bins around it.

    Args:
        atoms: atomic numbers [N, A], 0 behind the last atom.
        places: [N, A, 3] in Angstrom.

    >>> found = pair_counts(np.array([[1, 1, 0]]), np.array([[[0, 0, 0], [0, 0, 0.8], [0, 0, 0]]]))
    >>> float(found["H"][0]), float(found["H-H 0.8"][0])
    (2.0, 1.0)
    """
    counts = {name: (atoms == z).sum(axis=1).astype(float) for z, name in ATOMS.items()}
    first, second = np.triu_indices(atoms.shape[1], k=1)
    distance = np.sqrt(((places[:, first] - places[:, second]) ** 2).sum(axis=2))  # [N, pairs]
    low, high = np.minimum(atoms[:, first], atoms[:, second]), np.maximum(atoms[:, first], atoms[:, second])
    width = DISTANCES[1] - DISTANCES[0]
    for a, b in combinations_with_replacement(ATOMS, 2):
        row, pair = ((low == a) & (high == b)).nonzero()
        near = np.exp(-0.5 * ((distance[row, pair][:, None] - DISTANCES) / width) ** 2)  # [found, bins]
        for bin_, middle in enumerate(DISTANCES):
            counts[f"{ATOMS[a]}-{ATOMS[b]} {middle:.1f}"] = np.bincount(
                row, weights=near[:, bin_], minlength=len(atoms)
            )
    return counts


def _geometry(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atomic numbers [N, A], places [N, A, 3] and targets [N, 15] of the packed file."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as packed:
            found = {name: packed[name] for name in ("Z", "R", "y", "y_names")}
    except Exception as error:  # of zipfile, zlib or numpy
        raise ValueError(
            f"{file} cannot be read as arrays Z, R, y, y_names (cut off?): {' '.join(str(error).split())}"
        ) from error
    N, A = found["Z"].shape[0], found["Z"].shape[-1]
    if found["R"].shape != (N, A, 3) or found["y"].shape != (N, len(TARGETS)):
        shapes = {name: list(array.shape) for name, array in found.items()}
        raise ValueError(f"{file}: expected Z [N, A], R [N, A, 3], y [N, {len(TARGETS)}], got {shapes}")
    if found["y_names"].tolist() != list(TARGETS):
        raise ValueError(f"{file}: y_names must be {list(TARGETS)}, got {found['y_names'].tolist()}")
    wrong = (~np.isfinite(found["y"])).any(axis=1) | (~np.isin(found["Z"], (0, *ATOMS))).any(axis=1)
    if wrong.any():
        raise ValueError(
            f"{file}, row {wrong.nonzero()[0][0] + 1}: an unknown atom or a value that is not finite"
        )
    return found["Z"].astype(int), found["R"].astype(float), found["y"]


def _middle(target: Tensor) -> dict[str, Any]:
    """The median, and the spread of the middle half in normal deviations."""
    low, middle, high = target[~target.isnan()].double().quantile(torch.tensor([0.25, 0.5, 0.75]).double())
    return {"mean": float(middle), "deviation": float(high - low) / 1.349 or 1.0}
