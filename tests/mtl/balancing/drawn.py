"""Slow references of the methods that draw on gradients: the same numbers drawn, then loops on long vectors."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

SEED = 5  # of the one generator that a run draws from
STARTS = (0, 2, 5)  # the columns at which layer groups begin, and their number

Steps = Sequence[Any]  # gradients [T, P], losses [T], and what `references.Step` holds besides
Directions = list[np.ndarray]


def pcgrad(steps: Steps) -> Directions:
    generator, found = torch.Generator().manual_seed(SEED), []
    for J, _, _ in steps:
        orders = [torch.randperm(len(J), generator=generator).tolist() for _ in J]
        turned = J.copy()
        for i, order in enumerate(orders):
            for j in order:
                inner = turned[i] @ J[j]
                if j != i and inner < 0:
                    turned[i] = turned[i] - inner / (J[j] @ J[j]) * J[j]
        found.append(sum(turned[1:], start=turned[0]))
    return found


def gradvac(steps: Steps, beta: float = 0.01, groups: str = "whole") -> Directions:
    generator, found = torch.Generator().manual_seed(SEED), []
    T, P = steps[0].J.shape
    starts = STARTS if groups == "layer" else (0, P)
    target = np.zeros((len(starts), T, T))
    for whole, _, _ in steps:
        orders = [torch.randperm(T, generator=generator).tolist() for _ in range(T)]
        parts = []
        for layer, (first, last) in enumerate(itertools.pairwise(starts)):
            J = whole[:, first:last]
            turned = J.copy()
            for i, order in enumerate(orders):
                for j in order:
                    own, other = np.linalg.norm(turned[i]), np.linalg.norm(J[j])
                    if i == j or own == 0 or other == 0:
                        continue
                    phi, aim = turned[i] @ J[j] / own / other, target[layer, i, j]
                    if phi < aim:
                        sines = np.sqrt(1 - phi**2), np.sqrt(1 - aim**2)
                        turned[i] = (
                            turned[i] + own * (aim * sines[0] - phi * sines[1]) / (other * sines[1]) * J[j]
                        )
                    target[layer, i, j] = (1 - beta) * aim + beta * phi
            parts.append(turned.sum(axis=0))
        found.append(np.concatenate(parts))
    return found


def graddrop(steps: Steps, leak: Sequence[float] | None = None) -> Directions:
    generator, found = torch.Generator().manual_seed(SEED), []
    for J, _, _ in steps:
        (T, P), leaks = J.shape, np.zeros(len(J)) if leak is None else leak
        drawn = torch.rand(P, generator=generator).tolist()
        d = np.zeros(P)
        for p in range(P):
            size = sum(abs(J[t, p]) for t in range(T))
            positive = size > 0 and (1 + J[:, p].sum() / size) / 2 > drawn[p]
            for t in range(T):
                passed = (J[t, p] > 0) == positive
                d[p] += (leaks[t] + (1 - leaks[t]) * passed) * J[t, p]
        found.append(d)
    return found
