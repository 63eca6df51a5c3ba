"""The precision of a run: autocast around the forward pass, fp16's loss scale, and the update that may be skipped."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl.inputs import Inputs, apply
from mtl.names import lookup

PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """How forward passes are computed and gradients become an update.

    ``fp32`` computes in the parameters' own precision (float64 for a float64 model). ``bf16`` and ``fp16`` autocast
    the forward pass of a float32 model; outputs come back as float32, so that losses, per-task gradients of parameters
    and the update are in full precision. ``fp16`` has too small a range for gradients: the losses are scaled, and a
    step whose gradients overflow is skipped and the scale halved.

    Args:
        name: a name in `PRECISIONS`.
        model: its device and parameters are checked.

    Attributes:
        scaler: a ``torch.amp.GradScaler`` for `mtl.Balancer.backward`; None but for fp16.
        skipped: steps without an update so far.

    Raises:
        ValueError: an unknown name, a device that cannot compute in it, or a model that is not float32.

    >>> model = nn.Linear(3, 2)
    >>> Precision("bf16", model).forward(model, torch.ones(4, 3)).dtype
    torch.float32
    """

    def __init__(self, name: str, model: nn.Module) -> None:
        self.name, self.dtype = name, lookup("precision", name, PRECISIONS)
        self.device = next(model.parameters()).device
        self.scaler: torch.amp.GradScaler | None = None
        self.skipped = 0
        if self.dtype is None:
            return
        for parameter, value in model.named_parameters():
            if value.is_floating_point() and value.dtype != torch.float32:
                raise ValueError(
                    f"precision='{name}' casts a float32 model as it goes, but '{parameter}' is "
                    f"{str(value.dtype).removeprefix('torch.')}; call model.float(), or use precision='fp32'"
                )
        check_device(name, self.device)
        if self.dtype == torch.float16:
            self.scaler = torch.amp.GradScaler(self.device.type)

    @property
    def scale(self) -> float:
        """The factor of the losses; one without a scaler."""
        return 1.0 if self.scaler is None else float(self.scaler.get_scale())

    def forward(self, model: nn.Module, inputs: Inputs) -> Any:
        """The model's outputs, a tensor or {task: tensor}, in float32 where they came in half precision."""
        if self.dtype is None:
            return apply(model, inputs)
        with torch.autocast(self.device.type, dtype=self.dtype):
            outputs = apply(model, inputs)
        if isinstance(outputs, Mapping):
            return {name: _full(output) for name, output in outputs.items()}
        return _full(outputs)

    def update(self, optimizer: Optimizer, clip: float | None = None) -> bool:
        """One step of the optimizer, its gradients (all of them as one vector) cut to the length ``clip``.

        Returns:
            False where fp16 gradients overflowed: nothing was changed but the scale.

        Raises:
            ValueError: gradients that are not finite at any scale from 1, or with ``clip`` in other precisions.
        """
        if clip is not None:
            if self.scaler is not None:
                self.scaler.unscale_(optimizer)
            held = [p for group in optimizer.param_groups for p in group["params"]]
            length = nn.utils.clip_grad_norm_(held, clip)
            if self.scaler is None and not bool(length.isfinite()):
                raise ValueError(
                    f"the gradient's norm is {float(length)}, though the losses are finite; lower the learning rate, "
                    "or look for a square root or logarithm of zero"
                )
        if self.scaler is None:
            optimizer.step()
            return True
        before = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= before:
            return True
        self.skipped += 1
        if before <= 1:
            raise ValueError(
                "gradients are not finite in fp16, not even without a loss scale; use precision='bf16' or 'fp32', or "
                "lower the learning rate"
            )
        return False

    def state_dict(self) -> dict[str, Any]:
        """The scale and the counts, as plain numbers."""
        scaler = {} if self.scaler is None else self.scaler.state_dict()
        return {"name": self.name, "skipped": self.skipped, "scaler": scaler}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave, in the same precision."""
        if state["name"] != self.name:
            raise ValueError(
                f"the state is of precision '{state['name']}', this run has precision='{self.name}'"
            )
        self.skipped = state["skipped"]
        if self.scaler is not None:
            self.scaler.load_state_dict(dict(state["scaler"]))


def _full(output: Tensor) -> Tensor:
    return output.float() if output.dtype in (torch.bfloat16, torch.float16) else output


def check_device(name: str, device: torch.device) -> None:
    """Compute a layer and its gradient in the precision ``name`` on ``device``.

    Raises:
        ValueError: it does not work there.

    >>> check_device("bf16", torch.device("cpu"))
    """
    dtype = lookup("precision", name, PRECISIONS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error"
            )  # autocast turns itself off with a warning where a type is not supported
            weight = torch.ones(2, 2, device=device, requires_grad=True)
            with torch.autocast(device.type, dtype=dtype):
                found = nn.functional.linear(torch.ones(2, 2, device=device), weight)
            (gradient,) = torch.autograd.grad(found.float().sum(), weight)
            float(gradient.sum())  # an accelerator may fail no earlier
    except (RuntimeError, UserWarning, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"precision='{name}' does not work on device '{device}': {reason}; use precision='fp32'"
        ) from error
