"""Molecules written as SMILES, as counts of the pieces they are made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ATOMS = (
    r"\[[^\]]*\]|Br|Cl|%\d\d|[^\s]"  # an atom in brackets, two-letter atoms, rings above nine, any other sign
)


def pieces(
    texts: Sequence[str], train: Tensor, *, most: int, longest: int = 4
) -> tuple[Tensor, tuple[str, ...]]:
    """log(1 + count) of runs of up to ``longest`` signs, float [N, F], the ``most`` frequent of the training rows.

    >>> counts, names = pieces(["CCO", "CCl"], torch.tensor([0]), most=3, longest=2)
    >>> names, (counts.exp() - 1).round().tolist()
    (('C', 'C C', 'C O'), [[2.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    """
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(
        token_pattern=ATOMS, ngram_range=(1, longest), max_features=most, lowercase=False
    )
    counter.fit([texts[row] for row in train.tolist()])
    found = torch.from_numpy(counter.transform(texts).toarray()).float().log1p_()
    return found, tuple(counter.get_feature_names_out())
