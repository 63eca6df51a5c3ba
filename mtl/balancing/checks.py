"""What a balancer refuses before it computes anything."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from mtl.balancing.method import Level, Method, check_choice, check_number
from mtl.names import unknown

NO_LOSS = "there is no loss to balance: this batch has no label for any task"


def checked_settings(method: Method, level: Level, every: int, smooth: float, stream: bool) -> None:
    """Refuse settings that are out of range, or that the method has no meaning for."""
    check_choice("Balancer", "level", level, get_args(Level))
    check_number("Balancer", "every", every, least=1, whole=True)
    check_number("Balancer", "smooth", smooth, least=0, most=1)
    name = method.name
    if method.keeps_gradients and level == "features":
        raise ValueError(
            f"{name} keeps gradients from step to step, and level='features' has other numbers in each batch; "
            "use level='parameters'"
        )
    if method.answers_direction:
        wrong = {"level='last_layer'": level == "last_layer", "every": every > 1, "smooth": smooth > 0}
        for setting, used in wrong.items():
            if used:
                raise ValueError(
                    f"{name} answers a direction and no weights, so {setting} has no meaning for it"
                )
    if stream and (method.needs == "jacobian" or method.by_layer or level != "parameters"):
        why = (
            "keeps whole gradients"
            if method.needs == "jacobian"
            else "does not compare all parameters at once"
        )
        raise ValueError(f"{name} {why} with these settings, so stream has no meaning for it")
    if method.by_layer and (level != "parameters" or every > 1 or smooth):
        raise ValueError(f"{name} by layer needs level='parameters', every=1 and smooth=0")
    if method.needs == "losses" and (every > 1 or level != "parameters"):
        setting = "every" if every > 1 else "level"
        raise ValueError(f"{name} needs only losses: {setting} has no meaning for it")


def checked_losses(losses: Mapping[str, Tensor], names: tuple[str, ...], *, graph: bool = True) -> Tensor:
    """The values of the losses in task order, [T] float64 on the CPU."""
    if not losses:
        raise ValueError(NO_LOSS)
    check_form(losses, names, graph=graph)
    present = [name for name in names if name in losses]
    values = (
        torch.stack([losses[name].detach() for name in present]).double().cpu()
    )  # one wait for the device
    check_finite(present, values)
    return values


def check_form(losses: Mapping[str, Tensor], names: tuple[str, ...], *, graph: bool) -> None:
    """Refuse losses of unknown tasks, that are no scalars, or without a graph."""
    for name, loss in losses.items():
        if name not in names:
            raise unknown("task", name, names)
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            got = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"the loss of task '{name}' must be a scalar tensor, got {got}")
        if graph and not loss.requires_grad:
            raise ValueError(f"the loss of task '{name}' does not depend on any trainable parameter")


def check_finite(present: Sequence[str], values: Tensor) -> None:
    """Refuse values [T] that are NaN or infinite; the task is named."""
    for name, value in zip(present, values.tolist(), strict=True):
        if not abs(value) < float("inf"):
            raise ValueError(
                f"the loss of task '{name}' is {value}; look at its labels and inputs, or lower the learning rate"
            )


def scale_of(scaler: Any, losses: Mapping[str, Tensor]) -> float:
    """The factor of a gradient scaler; one without."""
    if scaler is None or not scaler.is_enabled():
        return 1.0
    for loss in (*losses.values(), *getattr(losses, "absent", {}).values()):
        if isinstance(loss, Tensor):
            scaler.scale(loss.detach())  # a scaler starts with its first use
            break
    return float(scaler.get_scale())
