"""All that a run carries but its weights, as plain containers for ``state.pt``, and the way back."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mtl.training.asked import check_same
from mtl.training.checkpoint import load_state, load_weights, save_checkpoint, weights_step, whole
from mtl.training.place import Place

if TYPE_CHECKING:
    from mtl.training.loop import Loop

PLAIN = (Tensor, bool, int, float, str, bytes, type(None), torch.dtype, torch.device, torch.Size)


def state_of(loop: Loop) -> dict[str, Any]:
    """The state after the last step done; `restored` is the way back.

    Raises:
        TypeError: an optimizer or a schedule of the caller's whose state is more than plain containers.
    """
    result, device = loop.result, loop.device
    state = {
        "step": result.steps,
        "validated": loop.validated,
        "asked": loop.asked,
        "optimizer": loop.optimizer.state_dict(),
        "schedule": loop.schedule.state_dict(),
        "balancer": loop.balancer.state_dict(),
        "random": {
            "train": torch.get_rng_state(),
            "augment": loop.shake.get_state(),
            **({"train_cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}),
        },
        "place": None if loop.place is None else loop.place.plain(),
        "window": {name: torch.stack(losses).cpu() for name, losses in loop.window.items() if losses},
        "best": {"value": loop.selection.best, "step": result.best_step},
        "records": list(result.records),
        "dynamics": result.dynamics.state_dict(),
        "meter": loop.meter.state_dict(),
        "precision": loop.precision.state_dict(),
        "buffers": _unsaved_buffers(loop),
    }
    for part in ("optimizer", "schedule", "balancer"):
        _check_plain(state[part], part)
    return state


def restored(loop: Loop, folder: Path, allow: Collection[str] = ()) -> bool:
    """Put ``loop`` where the checkpoint ``folder / "last"`` was written; False where there is none.

    Raises:
        ValueError: a damaged checkpoint, or one of a run that was asked for something else.
    """
    last, best = folder / "last", folder / "best"
    if not whole(last).exists():
        return False
    state = load_state(last)
    changed = check_same(state["asked"], loop.asked, allow, last)
    if state["step"] > loop.steps:
        raise ValueError(
            f"cannot resume {last}: it has done {state['step']} steps, more than the {loop.steps} asked for"
        )
    if state["best"]["step"]:
        if state["best"]["step"] == state["step"]:
            load_weights(last, loop.model)
            if weights_step(best) != state["step"]:  # killed between the two
                save_checkpoint(best, loop.model, state)
        elif weights_step(best) != state["best"]["step"]:
            raise ValueError(
                f"{best} must hold the weights of step {state['best']['step']}, it has those of step "
                f"{weights_step(best)}; remove {folder} to start anew"
            )
        else:
            load_weights(best, loop.model)
        loop.best = copy.deepcopy(loop.model.state_dict())
    load_weights(last, loop.model)
    _restore(loop, state, changed)
    if changed:  # from now on it is a training as asked for now
        loop.save("last")
    return True


def check_keeps_state(**parts: Any) -> None:
    """Raise unless each of the optimizer and the schedule can give and take its state."""
    for name, part in parts.items():
        for method in ("state_dict", "load_state_dict"):
            if not callable(getattr(part, method, None)):
                raise TypeError(
                    f"the {name} is a {type(part).__qualname__} without {method}(), so a checkpoint could not "
                    "continue it; give it state_dict() and load_state_dict(state), or leave out checkpoints="
                )


def _restore(loop: Loop, state: Mapping[str, Any], changed: set[str]) -> None:
    result = loop.result
    with torch.no_grad():
        for name, kept in state["buffers"].items():
            loop.model.get_buffer(name).copy_(kept)
    _restore_update(loop, state, changed)
    loop.balancer.load_state_dict(state["balancer"])
    loop.precision.load_state_dict(state["precision"])
    place = state["place"]
    if place is not None:
        loop.place = Place(place["epoch"], place["batch"], place["starts"])
        if changed & {"train", "batch_size"}:  # other batches: the epoch begins again
            loop.place = Place(place["epoch"], 0, place["starts"])
    loop.window |= {name: list(losses.to(loop.device)) for name, losses in state["window"].items()}
    loop.selection.best, result.best_step = state["best"]["value"], state["best"]["step"]
    result.records.extend(state["records"])
    result.dynamics.load_state_dict(state["dynamics"])
    loop.meter.load_state_dict(state["meter"])
    result.steps, loop.validated = state["step"], state["validated"]
    loop.shake.set_state(state["random"]["augment"])
    torch.set_rng_state(state["random"]["train"])
    if loop.device.type == "cuda" and "train_cuda" in state["random"]:
        torch.cuda.set_rng_state(state["random"]["train_cuda"], loop.device)


def _restore_update(loop: Loop, state: Mapping[str, Any], changed: set[str]) -> None:
    """Optimizer and schedule; where they may be others than before, the schedule is walked to this step."""
    if not changed & {"optimizer", "schedule", "steps"}:
        loop.optimizer.load_state_dict(state["optimizer"])
        loop.schedule.load_state_dict(state["schedule"])
        return
    if state["asked"]["optimizer"]["name"] == loop.asked["optimizer"]["name"]:
        groups = loop.optimizer.state_dict()["param_groups"]  # with the settings of now
        loop.optimizer.load_state_dict({"state": state["optimizer"]["state"], "param_groups": groups})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the schedule warns that the optimizer took no step
        for _ in range(state["step"]):
            loop.schedule.step()


def _unsaved_buffers(loop: Loop) -> dict[str, Tensor]:
    """The buffers that are in no state dict."""
    saved = set(loop.model.state_dict())
    return {name: buffer for name, buffer in loop.model.named_buffers() if name not in saved}


def _check_plain(value: Any, where: str) -> None:
    """What `torch.load(weights_only=True)` would refuse is refused before it is written."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_plain(item, f"{where}['{key}']")
    elif type(value) in (list, tuple, set):
        for item in value:
            _check_plain(item, f"{where}[...]")
    elif not isinstance(value, PLAIN) or type(value).__module__.startswith("numpy"):
        raise TypeError(
            f"a checkpoint holds plain containers, tensors, numbers and texts, but the state_dict of the "
            f"{where} is a {type(value).__qualname__}; convert it there, or leave out checkpoints="
        )
