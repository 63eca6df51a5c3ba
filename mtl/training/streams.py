"""Random streams by name: one seed a run, one independent stream a purpose.

Changing how much randomness one purpose uses (the balancer, say) leaves the others (initialisation, data order)
as they were, so that runs stay paired by seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from mtl.distributed.ranks import ranks


def stream_seed(seed: int, name: str) -> int:
    """A 63-bit seed for the stream ``name`` of the run ``seed`` (NumPy's SeedSequence does the mixing).

    >>> stream_seed(0, "order") == stream_seed(0, "order"), stream_seed(0, "order") == stream_seed(0, "init")
    (True, False)
    """
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    state = np.random.SeedSequence([seed, *name.encode()]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def own_stream(name: str) -> str:
    """The stream of this process: what is drawn for its own examples differs from what others draw for theirs.

    >>> own_stream("augment")    # alone
    'augment'
    """
    together = ranks()
    return name if together is None or together.rank == 0 else f"{name} of rank {together.rank}"


def generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator for the stream ``name`` of the run ``seed``."""
    return torch.Generator().manual_seed(stream_seed(seed, name))


@contextmanager
def seeded(seed: int, name: str = "init") -> Iterator[None]:
    """Torch's global generators follow the stream ``name`` inside, and are as before after.

    >>> with seeded(0, "init"):
    ...     first = torch.rand(1)
    >>> with seeded(0, "init"):
    ...     bool(first == torch.rand(1))
    True
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(stream_seed(seed, name))
        yield
