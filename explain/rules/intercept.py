"""See every torch function of a forward pass, whoever calls it, and give it a backward pass of another rule.

Modules need no hooks: ``nn.ReLU``, ``F.relu``, ``torch.relu_`` and ``x.clamp(min=0)`` all arrive here as one call. So
a module that is used twice, works in place or stands next to another of its kind is nothing special, and nothing has to
be taken off the model afterwards.

A set of rules is a dict from kinds of functions (`explain.rules.functions`) to a rule, a function of one `Call` that
gives the call's result; what gradient reaches the operands is then the rule's business (a `torch.autograd.Function`,
mostly). `passed` leaves a kind to autograd. A kind without a rule is refused, if the explained score depends on it.

>>> class Halved(torch.autograd.Function):
...     @staticmethod
...     def forward(ctx, x):
...         return x.relu()
...     @staticmethod
...     def backward(ctx, gradient):
...         return gradient / 2
>>> rules = {"linear": passed, "shape": passed, "select": passed, "relu": lambda call: Halved.apply(*call.active)}
>>> from explain.inputs import lay_out
>>> model, inputs = nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.ones(1, 3)
>>> scorer = Scorer(model, lay_out(inputs)[0], None, 1, "logit", slice(0, 1), 1)
>>> intercept = Intercept("halved", model, rules)
>>> [found] = intercept.gradients(scorer, intercept.columns(scorer, inputs))
>>> bool((found == model[0].weight[1] / 2).all())
True
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, disable_saved_tensors_hooks, saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from explain.rules.functions import FUNCTIONS, ONLY_SHAPE, Op, argument, classify, tensors_in
from explain.scorer import Scorer

ASIDE = {  # what a refusal calls the kinds that are about values computed without a gradient
    "gate": "{} with a value computed from the input without a gradient",
    "select": "{} by an index computed from the input",
    "shift": "{} of a value computed from the input without a gradient",
    "batch_statistics": "{} with the statistics of the batch",
    "random": "{} at random, switched on",
}
HIDDEN = "operations hidden from Python (torch.jit, an autograd.Function or an extension)"
CHECKPOINTED = (
    "gradient checkpointing runs parts of the model again in the backward pass, where the rules do not hold"
)
GETTERS = {"__get__", "__set__", "__delete__"}


@dataclass(eq=False)
class Call:
    """One torch function in the forward pass.

    Args:
        func: the function as it was called; ``name``: its plain name ("relu"); ``kind``: see `explain.rules.functions`.
        args: arguments, ``kwargs``: keyword arguments, as given but that parameters are detached.
        active: the operands that depend on the input, in order; an operand that is given twice is there twice.
        in_place: whether the function writes into its first argument. The engine sees to that: a rule returns a new
            tensor.
        module: the name of the innermost module that it runs in; "" for the model itself; None outside of the model
            (a target callable).
    """

    func: Callable[..., Any]
    name: str
    kind: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    active: list[Tensor]
    in_place: bool
    module: str | None
    engine: Intercept

    def run(self, *operands: Tensor) -> Any:
        """The function itself, of other operands in the place of the active ones (of those where none are given).

        It never writes into an operand.
        """
        args, kwargs = self.arguments(*operands) if operands else (self.args, self.kwargs)
        if self.in_place:
            args = (args[0].clone(), *args[1:])
            self.func(*args, **kwargs)
            return args[0]
        return self.func(*args, **kwargs)

    def arguments(self, *operands: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """``args`` and ``kwargs`` with other operands in the place of the active ones."""
        given = iter(operands)
        ids = {id(tensor) for tensor in self.active}
        return _mapped((self.args, self.kwargs), lambda t: next(given) if id(t) in ids else t)

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument that may have been given by place or by name."""
        return argument(self.args, self.kwargs, place, name, default)

    def refused(self) -> Any:
        """The function's result, noted as one that no rule is known for."""
        result = self.run()
        self.engine.refuse(result, ASIDE.get(self.kind, "{}").format(self.name))
        return result

    def inside(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``function(...)`` with every torch function in it intercepted in its turn."""
        with self.engine:
            return function(*args, **kwargs)


Rule = Callable[[Call], Any]


def passed(call: Call) -> Any:
    """Leave the function to autograd."""
    return call.run()


class Intercept(TorchFunctionMode):
    """One forward pass under a set of rules, and a backward pass for each task.

    A tensor depends on the input if it requires a gradient: parameters are detached on their way into each function (so
    the backward passes compute no gradient of theirs). Each result is marked; a tensor that requires a gradient without
    a mark comes from operations that could not be seen, and is refused like a kind without a rule. Refusals are hooks
    on the graph: what the explained scores do not use refuses nothing. `gradients` raises for all at once.

    Args:
        method: the method's name, for errors.
        model: the module whose parts are named in errors.
        rules: {kind: rule}.
        advice: the end of the error that lists what is refused.
    """

    def __init__(self, method: str, model: nn.Module, rules: Mapping[str, Rule], advice: str = "") -> None:
        super().__init__()
        self.method, self.rules, self.advice = method, rules, advice
        self.task: str | None = None  # whose backward pass is running
        self._names = {id(module): name for name, module in model.named_modules()}
        self._mark = object()
        self._leaf = torch.empty(0)
        self.source: Node | None = None  # what made the inputs that the model gets
        self.dependent: set[str] = set()  # the tasks whose scores depend on the input; after `gradients`
        self._refused: dict[
            tuple[str, str], None
        ] = {}  # (operation, module) in the order of the forward pass
        self._hit: set[tuple[str, str]] = set()

    # ---- the passes

    def columns(self, scorer: Scorer, inputs: Tensor, *, keep: bool = True) -> list[Tensor]:
        """The scores, K tensors [n B], of inputs [n B, *S] under the rules.

        ``keep=False`` is for a pass that only looks: autograd keeps no activation, and no gradient can go back.

        Raises:
            ValueError: gradient checkpointing, which would run the model again in the backward pass without the rules.
        """
        self._leaf = inputs.detach().clone().requires_grad_()
        x = self._leaf.clone()  # the model may write into its input
        self.source = x.grad_fn
        self._marked(x)
        try:
            saved: Any = disable_saved_tensors_hooks(CHECKPOINTED)
            if not keep:
                saved = saved_tensors_hooks(lambda _: None, _gone)
            with _uncompiled(), saved, self:
                return scorer.columns(x)
        except (ValueError, RuntimeError) as error:
            if CHECKPOINTED in str(error):
                raise ValueError(f"{self.method}: {CHECKPOINTED}; switch it off") from error
            raise

    def gradients(self, scorer: Scorer, columns: Sequence[Tensor]) -> list[Tensor]:
        """K tensors like the inputs of `columns`; zeros for a score that does not depend on them.

        Raises:
            ValueError: operations that the rules do not know on the way from the inputs to a score.
        """
        ways = []
        for task, column in zip(scorer.tasks, columns, strict=True):
            active, aside, _ = self._look(column)
            if active or aside:
                self.dependent.add(task)
            else:  # a score of parameters alone
                column = column.detach() + 0 * self._leaf.flatten()[0]
            if column.requires_grad:
                column = column.view_as(column)
                column.register_hook(lambda _, task=task: setattr(self, "task", task))
            ways.append(column)
        found = scorer.gradients(ways, self._leaf)
        if self._hit:
            raise ValueError(self._refusal())
        return [torch.zeros_like(self._leaf) if g is None else g for g in found]

    # ---- one function

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs, op = kwargs or {}, FUNCTIONS.get(func)
        if op is not None and op.name in ONLY_SHAPE and not any(self._look(args[:1])):
            return func(*args, **kwargs)  # mask.to(x) takes nothing of x but its type
        active, aside, parameters = self._look((args, kwargs))
        if not active and not aside:
            if not parameters:
                return func(*args, **kwargs)
            with torch.no_grad():  # of parameters alone: a constant
                return func(*args, **kwargs)
        if parameters:
            ids = {id(tensor) for tensor in parameters}
            args, kwargs = _mapped((args, kwargs), lambda t: self._detached(t) if id(t) in ids else t)
            active, aside, _ = self._look((args, kwargs))
        if op is not None and op.kind == "constant":
            return func(*args, **kwargs)
        if not active or getattr(func, "__name__", "") in GETTERS:
            return self._finished(func(*args, **kwargs), args, op)
        if op is None and isinstance(func, FunctionType):  # written in Python: what it is made of is seen
            with self:
                return _body(func)(*args, **kwargs)
        return self._ruled(func, op, args, kwargs, active, {id(tensor) for tensor in aside})

    def _ruled(
        self, func: Any, op: Op | None, args: Any, kwargs: Any, active: list[Tensor], aside: set[int]
    ) -> Any:
        if op is None:
            name, kind = str(getattr(func, "__name__", func)), "unknown"
            in_place = name.endswith("_") and not name.startswith("__")
        else:
            name, kind = op.name, classify(op, args, kwargs, {id(tensor) for tensor in active}, aside)
            in_place = op.in_place or (
                op.flag is not None and bool(argument(args, kwargs, op.flag, "inplace", False))
            )
        if in_place and not args:  # F.relu(input=x, inplace=True)
            args, kwargs = (kwargs["input"],), {key: value for key, value in kwargs.items() if key != "input"}
        rule = self.rules.get(kind) if kind != "unknown" else None
        if rule is None or rule is passed:
            result = self._finished(func(*args, **kwargs), args, op, in_place)
            if rule is None:
                self.refuse((args[0] if in_place else result), ASIDE.get(kind, "{}").format(name))
            return result
        target = args[0] if in_place else None
        if target is not None:  # what the rule keeps of it is not written over
            copy = target.clone()
            args, kwargs = _mapped((args, kwargs), lambda t: copy if t is target else t)
            active = [copy if tensor is target else tensor for tensor in active]
        call = Call(func, name, kind, tuple(args), kwargs, active, in_place, self._module(), self)
        result = self._finished(rule(call), args, op)
        return result if target is None else self._finished(target.copy_(result), (target,), op, True)

    # ---- what depends on the input

    def _look(self, value: Any) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """The tensors in ``value`` that depend on the input with a gradient and without, and the parameters."""
        active, aside, parameters = [], [], []
        for tensor in tensors_in(value):
            mark = getattr(tensor, "_followed", (None, None))
            if not tensor.requires_grad:
                if mark[0] is self._mark:
                    aside.append(tensor)
            elif (
                mark[0] is self._mark
                and mark[1] is not None
                and (mark[1] is tensor.grad_fn or tensor._is_view())
            ):
                active.append(tensor)
            elif tensor.is_leaf:
                parameters.append(tensor)
                aside += [tensor] if mark[0] is self._mark else []  # x.detach().requires_grad_()
            else:
                self.refuse(tensor, HIDDEN)
                self._marked(tensor)
                active.append(tensor)
        return active, aside, parameters

    def _detached(self, parameter: Tensor) -> Tensor:
        detached = parameter.detach()
        if getattr(parameter, "_followed", (None, None))[0] is self._mark:
            self._marked(detached)
        return detached

    def _marked(self, tensor: Tensor) -> None:
        # the node, for an autograd.Function may give what was marked inside of it without a gradient
        tensor._followed = (self._mark, tensor.grad_fn)  # type: ignore[attr-defined]

    def _finished(self, result: Any, args: Any, op: Op | None, in_place: bool = False) -> Any:
        """The result, marked; and what was written into, also as a part of another tensor."""
        for tensor in tensors_in(result):
            self._marked(tensor)
        if in_place or (op is not None and op.in_place):
            self._marked(args[0])
            if args[0]._base is not None:
                self._marked(args[0]._base)
        return result

    # ---- what is refused

    def refuse(self, result: Any, operation: str) -> None:
        """Note the operation in every backward pass that comes through its result."""
        ways = [tensor for tensor in tensors_in(result) if tensor.requires_grad]
        if ways:
            entry = (operation, self._module() or "")
            self._refused[entry] = None
            for tensor in ways:
                tensor.register_hook(lambda _: self._hit.add(entry))

    def _module(self) -> str | None:
        """The name of the innermost module of the model that is running: the first in the frames below."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if code.co_argcount and (code.co_varnames[0] == "self" or code.co_name == "forward"):
                name = self._names.get(id(frame.f_locals.get(code.co_varnames[0])))
                if name is not None:
                    return name
            frame = frame.f_back
        return None

    def _refusal(self) -> str:
        places: dict[str, list[str]] = {}
        for operation, module in self._refused:
            if (operation, module) in self._hit:
                places.setdefault(operation, []).append(module or "the model")
        listed = "; ".join(f"{operation} in {', '.join(where)}" for operation, where in places.items())
        return f"{self.method} has no rule for: {listed}" + (f". {self.advice}" if self.advice else "")


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Compiled parts of a model run as they were written, so that their functions are seen."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled, and importing it takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """``value`` with every tensor in its tuples, lists and dicts changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(item, change) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(_mapped(item, change) for item in value)
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    return value


_BODIES: dict[FunctionType, FunctionType] = {}


def _body(func: FunctionType) -> FunctionType:
    """A torch function that is written in Python, without its question for overrides: that would lead back here."""
    if func not in _BODIES:
        blind = {name: _no for name in func.__globals__ if name.startswith("has_torch_function")}
        copy = FunctionType(
            func.__code__, {**func.__globals__, **blind}, func.__name__, func.__defaults__, func.__closure__
        )
        copy.__kwdefaults__ = func.__kwdefaults__
        _BODIES[func] = copy
    return _BODIES[func]


def _no(*_: Any) -> bool:
    return False


def _gone(_: Any) -> Tensor:
    raise ValueError("the model takes gradients inside its forward pass, which cannot be followed here")
