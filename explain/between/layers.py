"""Layers of a model: finding them, keeping their outputs, replacing channels of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from explain.names import unknown

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
AFTER = (  # what may follow a convolution without changing what its channels are
    *NORMS, nn.Identity,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Hardswish, nn.Hardtanh, nn.Softplus, nn.Softsign, nn.Tanh, nn.Sigmoid,
)  # fmt: skip
FIRST = (*CONVOLUTIONS, *NORMS)
LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding)
Layers = str | nn.Module | Sequence[str | nn.Module]


def find_layers(model: nn.Module, layers: Layers) -> dict[str, nn.Module]:
    """{name: module} of layers given by name or as modules.

    >>> list(find_layers(nn.Sequential(nn.ReLU(), nn.Linear(1, 1)), ["1"]))
    ['1']
    """
    known = dict(model.named_modules(remove_duplicate=False))
    found = {}
    for layer in [layers] if isinstance(layers, str | nn.Module) else layers:
        if isinstance(layer, str):
            if not layer or layer not in known:
                raise unknown("layer", layer, [name for name in known if name])
            found[layer] = known[layer]
        else:
            names = [name for name, module in known.items() if module is layer]
            if not names:
                raise ValueError(f"layer {type(layer).__name__} is not a part of the model")
            found[names[0]] = known[names[0]]
    if not found:
        raise ValueError("layers is empty; give names of modules, or None for all convolutions")
    return found


def convolutions(model: nn.Module, run: Callable[[], object]) -> tuple[list[str], set[str]]:
    """Names of the points at which to look into a convolutional model, and of all layers with channels first.

    The points are each convolution that ``run()`` uses, or the last normalisation or activation module after it. A
    module follows where it gets the very tensor that the one before it gave, and nothing of another shape comes out;
    one that runs several times in a pass (one ReLU for all layers) is no point.
    """
    latest: dict[
        int, tuple[str, Tensor]
    ] = {}  # id of an output: (the convolution its chain began with, the output)
    chains: dict[str, list[str]] = {}
    runs: Counter[str] = Counter()

    def see(name: str, module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        runs[name] += 1
        given = inputs[0] if inputs else None
        if not isinstance(output, Tensor) or not isinstance(given, Tensor):
            return
        start, held = latest.get(id(given), (name, None))
        if isinstance(module, CONVOLUTIONS):
            start = name
        elif held is not given or output.shape != given.shape:
            return
        latest[id(output)] = (start, output)
        chains.setdefault(start, []).append(name)

    handles: list[RemovableHandle] = []
    try:
        for name, module in model.named_modules():
            if isinstance(module, (*CONVOLUTIONS, *AFTER)):
                handles.append(
                    module.register_forward_hook(
                        lambda module, inputs, output, name=name: see(name, module, inputs, output)
                    )
                )
        run()
    finally:
        for handle in handles:
            handle.remove()
    points = [[start, *(name for name in chain if runs[name] == 1)][-1] for start, chain in chains.items()]
    return list(dict.fromkeys(points)), {name for chain in chains.values() for name in chain}


@contextmanager
def recorded(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Tensor]]]:
    """The outputs of layers, one a call, in the graph of what is computed inside."""
    outputs: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise TypeError(
                f"layer '{name}' gives a {type(output).__name__}, not a tensor; name a module inside it"
            )
        outputs[name].append(output)
        return output.clone()  # what follows may change it in place

    handles = [
        module.register_forward_hook(lambda _m, _i, output, name=name: keep(name, output))
        for name, module in layers.items()
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replaced(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """``change(output)`` in place of the layer's output, in every call inside."""
    handle = module.register_forward_hook(lambda _m, _i, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def channel_axis(name: str, module: nn.Module, output: Tensor, axis: int | None) -> int:
    """Which axis of a layer's output [B, ...] holds its channels, by the kind of layer where ``axis`` is None.

    >>> import torch
    >>> channel_axis("x", nn.Linear(1, 1), torch.zeros(2, 7, 5), None)
    2
    """
    shape = list(output.shape)
    if output.dim() < 2:
        raise ValueError(f"layer '{name}' gives {shape}; channels need [B, C, ...] or [B, L, C]")
    if axis is not None:
        if not -output.dim() < axis < output.dim() or axis == 0:
            raise ValueError(f"channel_axis {axis} is no axis of layer '{name}', which gives {shape}")
        return axis % output.dim()
    if output.dim() == 2 or isinstance(module, FIRST):
        return 1
    if isinstance(module, LAST):
        return output.dim() - 1
    raise ValueError(
        f"layer '{name}' ({type(module).__name__}) gives {shape}, and it is open which axis holds the channels; "
        "give channel_axis=1 or channel_axis=-1"
    )
