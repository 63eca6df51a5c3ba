"""Tox21: twelve tests of toxicity, a sixth of whose results are missing."""

from __future__ import annotations

from pathlib import Path

import torch

from mtl.data.columns import shares, splits
from mtl.data.files import classes, find, need_columns, read_csv
from mtl.data.molecules import pieces
from mtl.data.task_data import Splits, split_rows
from mtl.tasks import Classification
from mtl.training.streams import generator

TASKS = (
    "NR-AR", "NR-AR-LBD", "NR-AhR", "NR-Aromatase", "NR-ER", "NR-ER-LBD", "NR-PPAR-gamma", "SR-ARE", "SR-ATAD5",
    "SR-HSE", "SR-MMP", "SR-p53",
)  # fmt: skip


def tox21(*, root: str | Path, features: int = 1024, seed: int = 0) -> Splits:
    """Twelve tasks of two classes (inactive, active), scored by the area under the ROC curve; 17% of labels missing.

    Inputs are counts of pieces of the SMILES text. Split 80/10/10 by molecule: rows of the same SMILES stay together.

    Args:
        root: the folder with ``tox21.csv.gz`` (or ``tox21.csv``).
        features: the number of pieces counted, the most frequent ones.
        seed: of the split.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: columns that are not there, or a label that is none; the row is named.

    Source: Huang et al. 2016; MoleculeNet (Wu et al. 2018), DeepChem's file.
    """
    file = find("tox21", root, ["tox21.csv"], "DeepChem's repository, datasets/tox21.csv.gz")
    table = read_csv(file)
    need_columns(file, table, [*TASKS, "smiles"])
    molecules = {text: number for number, text in enumerate(dict.fromkeys(table["smiles"]))}
    number = torch.tensor(table["smiles"].map(molecules).to_numpy())
    sets = split_rows(len(molecules), shares(len(molecules), 0.8, 0.1), generator(seed, "tox21"))
    parts = [torch.isin(number, chosen).nonzero()[:, 0] for chosen in sets]
    inputs, names = pieces(table["smiles"].tolist(), parts[0], most=features)
    targets = {}
    for task in TASKS:
        column = table[task].str.removesuffix(".0")
        targets[task] = torch.from_numpy(classes(file, column, ("0", "1")))
    tasks = [Classification(task, classes=("inactive", "active"), primary="roc_auc") for task in TASKS]
    return splits("tox21", tasks, inputs, targets, parts, names)
