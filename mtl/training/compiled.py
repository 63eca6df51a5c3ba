"""The shared part of a model compiled while it trains, and as it was afterwards."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def compiled(model: nn.Module) -> Iterator[None]:
    """Inside, the model's backbone (a model without one: the whole) runs compiled by ``torch.compile``.

    The backbone and not the whole, because a compiled graph is one node: balancing finds the features where the heads
    leave the trunk only between two graphs, and then passes the heads once instead of T times. Parameters, their
    names and the modules stay the same objects.

    Raises:
        ValueError: ``torch.compile`` does not work on this machine.
    """
    import torch._functorch.config
    import torch._inductor.config

    part = getattr(model, "backbone", model)
    _try(next(model.parameters()).device)
    with (
        torch._functorch.config.patch(donated_buffer=False),  # one forward, and a backward for each task
        torch._inductor.config.patch(fallback_random=True),  # dropout draws what it draws uncompiled
    ):
        before = part._compiled_call_impl
        if before is None:
            part.compile()
        try:
            yield
        finally:
            part._compiled_call_impl = before


def _try(device: torch.device) -> None:
    """Compile a line and its gradient: a second or two, against an error of many pages in the first step."""

    def line(x: Tensor) -> Tensor:
        return (x * 2).sin()

    # where CUDA's files are and no GPU is, torch warns of it in the first process to compile, whatever its device
    finder = logging.getLogger("torch.utils.cpp_extension")
    before = finder.level
    finder.setLevel(logging.ERROR)
    try:
        x = torch.ones(8, device=device, requires_grad=True)
        torch.compile(line)(x).sum().backward()
    except Exception as error:  # of torch, of its compiler, or of the system's: each has its own types
        reason = next((row for row in str(error).splitlines() if row.strip()), type(error).__name__)
        what = "Triton, which comes with torch for Linux" if device.type == "cuda" else "a C++ compiler"
        raise ValueError(
            f"compile=True needs {what} and Python's headers (Debian: apt install g++ python3-dev), and torch.compile "
            f"fails here: {reason[:200]}; install them, or use compile=False"
        ) from error
    finally:
        finder.setLevel(before)
