"""One input or several: what the model takes, and the one tensor that methods see.

A lone tensor [B, *S] is seen as it is. Several float tensors (image and text, as a tuple for ``model(*inputs)`` or a
dict for ``model(**inputs)``) are joined to one [B, N], so that no method knows how many there are; those that need
structure split it again. Tensors that are not float (token ids, masks) go to the model as they are and get no map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """How the parts of an input lie in the tensor that methods see.

    Args:
        kind: "tensor", "tuple" or "dict".
        names: of the explained parts.
        shapes: of the explained parts, without the batch.
        dtypes: of the explained parts.
        fixed: {name: [B, ...]}, parts that go along unexplained.
        order: names of all parts, as the model takes them.
    """

    kind: str
    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    dtypes: tuple[torch.dtype, ...]
    fixed: Mapping[str, Tensor]
    order: tuple[str, ...]

    def split(self, joined: Tensor) -> list[Tensor]:
        """The explained parts [n, *S] of what methods see.

        >>> layout, joined = lay_out((torch.zeros(2, 3), torch.zeros(2, 4, 5)))
        >>> joined.shape, [list(part.shape) for part in layout.split(joined)]
        (torch.Size([2, 23]), [[2, 3], [2, 4, 5]])
        """
        if self.kind == "tensor":
            return [joined]
        parts = joined.split([prod(shape) for shape in self.shapes], dim=1)
        return [
            part.reshape(len(joined), *shape).to(dtype)
            for part, shape, dtype in zip(parts, self.shapes, self.dtypes, strict=True)
        ]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The inverse of `split`."""
        if self.kind == "tensor":
            return parts[0]
        dtype = self.dtypes[0]
        for other in self.dtypes[1:]:
            dtype = torch.promote_types(dtype, other)
        return torch.cat([part.flatten(1).to(dtype) for part in parts], dim=1)

    def call(self, model: nn.Module, joined: Tensor, rows: slice | Tensor) -> Any:
        """The model's output for ``joined`` [n b, ...]: n stacked copies of the examples ``rows`` of the batch."""
        if self.kind == "tensor":
            return model(joined)
        named = dict(zip(self.names, self.split(joined), strict=True))
        for name, tensor in self.fixed.items():
            own = tensor[rows]
            named[name] = own.repeat(len(joined) // len(own), *[1] * (own.dim() - 1))
        if self.kind == "tuple":
            return model(*(named[name] for name in self.order))
        return model(**{name: named[name] for name in self.order})

    def restore(self, joined: Tensor) -> Any:
        """A map of what methods see in the structure of the input: None (tuple) or nothing (dict) for what is fixed."""
        if self.kind == "tensor":
            return joined
        named = dict(zip(self.names, self.split(joined), strict=True))
        if self.kind == "tuple":
            return tuple(named.get(name) for name in self.order)
        return {name: named[name] for name in self.order if name in named}


def lay_out(inputs: Inputs) -> tuple[Layout, Tensor]:
    """The layout of inputs, and the tensor that methods see; or one clear error.

    >>> lay_out({"ids": torch.zeros(1, 2, dtype=torch.long)})
    Traceback (most recent call last):
    TypeError: input 'ids' must be floating point, got torch.int64; give .float(), or explain the output of the
        embedding layer: explain.layer_attribution
    """
    if isinstance(inputs, Tensor):
        check_tensor("inputs", inputs)
        return Layout("tensor", ("",), (inputs.shape[1:],), (inputs.dtype,), {}, ("",)), inputs.detach()
    if isinstance(inputs, Mapping):
        kind, parts = "dict", {str(name): part for name, part in inputs.items()}
    elif isinstance(inputs, tuple | list):
        kind, parts = "tuple", {str(index): part for index, part in enumerate(inputs)}
    else:
        raise TypeError(
            f"inputs must be a tensor [B, *S], or a tuple or dict of tensors, got {type(inputs).__name__}"
        )
    for name, part in parts.items():
        if not isinstance(part, Tensor) or part.dim() == 0:
            got = "a tensor without a batch" if isinstance(part, Tensor) else type(part).__name__
            raise TypeError(f"input '{name}' must be a tensor [B, ...], got {got}")
    if len({(len(part), part.device) for part in parts.values()}) > 1:
        sizes = {name: f"{len(part)} on {part.device}" for name, part in parts.items()}
        raise ValueError(f"all inputs must hold the same examples on the same device, got {sizes}")
    floats = {name: part for name, part in parts.items() if part.is_floating_point()}
    if not floats:
        if not parts:
            raise ValueError("inputs are empty; give at least one tensor [B, *S]")
        check_tensor(f"input '{next(iter(parts))}'", next(iter(parts.values())))
    for name, part in floats.items():
        check_tensor(f"input '{name}'", part)
    layout = Layout(
        kind,
        tuple(floats),
        tuple(part.shape[1:] for part in floats.values()),
        tuple(part.dtype for part in floats.values()),
        {name: part for name, part in parts.items() if name not in floats},
        tuple(parts),
    )
    return layout, layout.join([part.detach() for part in floats.values()])


def check_tensor(name: str, inputs: object) -> None:
    """Raise unless ``inputs`` is a non-empty, finite float tensor [B, *S].

    >>> check_tensor("inputs", torch.zeros(1, 2, dtype=torch.uint8))
    Traceback (most recent call last):
    TypeError: inputs must be floating point, got torch.uint8; give .float(), or explain the output of the
        embedding layer: explain.layer_attribution
    """
    if not isinstance(inputs, Tensor):
        raise TypeError(f"{name} must be one tensor [B, *S], got {type(inputs).__name__}")
    if not inputs.is_floating_point():
        raise TypeError(
            f"{name} must be floating point, got {inputs.dtype}; give .float(), or explain the output of the "
            "embedding layer: explain.layer_attribution"
        )
    if inputs.dim() < 2 or inputs.numel() == 0:
        raise ValueError(f"{name} must be [B, *S] with at least one example, got {list(inputs.shape)}")
    finite = torch.isfinite(inputs).flatten(1).all(1)
    if not finite.all():
        bad = (~finite).nonzero()[:, 0]
        raise ValueError(
            f"{name} hold NaN or infinite values in {len(bad)} examples, first example {int(bad[0])}"
        )
