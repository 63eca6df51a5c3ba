"""LSTM, GRU and plain recurrent layers, taken apart into a step for each place of the sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from explain.rules.intercept import Call

State = tuple[Tensor, ...]  # (h,) or (h, c)
Step = Callable[[Tensor, State, Tensor, Tensor | None], State]


def recurrent(call: Call) -> Any:
    """A layer or a cell; packed sequences and projections are refused."""
    if call.name.endswith("_cell"):
        return _cell(call)
    lstm, given = call.name == "lstm", call.argument(1, "hx")
    hx: Sequence[Tensor] = given if isinstance(given, tuple | list) else (given,)
    flat = call.argument(2, "params")
    if not all(h.is_floating_point() for h in hx) or not isinstance(
        flat, tuple | list
    ):  # batch sizes, if packed
        return call.refused()
    biased, layers = call.argument(3, "has_biases"), call.argument(4, "num_layers")
    both, first = call.argument(7, "bidirectional"), call.argument(8, "batch_first")
    each = 4 if biased else 2
    if len(flat) != each * layers * (2 if both else 1) or (
        call.argument(6, "train") and call.argument(5, "dropout")
    ):
        return call.refused()
    step = STEPS[call.name]

    def parts(x: Tensor, *hx: Tensor) -> Any:
        x = x.transpose(0, 1) if first else x
        last: list[State] = []
        for layer in range(layers):
            ways = []
            for way in range(2 if both else 1):
                place = layer * (2 if both else 1) + way
                weights = [*flat[each * place : each * (place + 1)], None, None]
                ahead = F.linear(x, weights[0], weights[2])  # what the inputs give to all steps at once
                state: State = tuple(h[place] for h in hx)
                outputs: list[Tensor] = []
                for at in range(len(x)) if way == 0 else reversed(range(len(x))):
                    state = step(ahead[at], state, weights[1], weights[3])
                    outputs.append(state[0])
                ways.append(torch.stack(outputs if way == 0 else outputs[::-1]))
                last.append(state)
            x = torch.cat(ways, dim=-1)
        states = tuple(torch.stack(kind) for kind in zip(*last, strict=True))
        return (x.transpose(0, 1) if first else x, *states[: 2 if lstm else 1])

    return call.inside(parts, call.args[0], *hx)


def _cell(call: Call) -> Any:
    """One step: (h, c) of an LSTM, else h."""
    names = ("input", "hx", "w_ih", "w_hh", "b_ih", "b_hh")
    x, given, to_x, to_h, of_x, of_h = (call.argument(place, name) for place, name in enumerate(names))
    step = STEPS[call.name.removesuffix("_cell")]
    state = tuple(given) if isinstance(given, tuple | list) else (given,)
    after = call.inside(lambda: step(F.linear(x, to_x, of_x), state, to_h, of_h))
    return after if len(after) > 1 else after[0]


def _lstm(ahead: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    h, c = state
    enter, forget, new, leave = (ahead + F.linear(h, weight, bias)).chunk(4, dim=-1)
    c = forget.sigmoid() * c + enter.sigmoid() * new.tanh()
    return leave.sigmoid() * c.tanh(), c


def _gru(ahead: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    (h,) = state
    reset, update, new = ahead.chunk(3, dim=-1)
    reset_h, update_h, new_h = F.linear(h, weight, bias).chunk(3, dim=-1)
    update = (update + update_h).sigmoid()
    new = (new + (reset + reset_h).sigmoid() * new_h).tanh()
    return ((1 - update) * new + update * h,)


def _tanh(ahead: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    return ((ahead + F.linear(state[0], weight, bias)).tanh(),)


def _relu(ahead: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    return ((ahead + F.linear(state[0], weight, bias)).relu(),)


STEPS: dict[str, Step] = {"lstm": _lstm, "gru": _gru, "rnn_tanh": _tanh, "rnn_relu": _relu}
