"""What a balancing method is: its options, what it is given, what it answers.

A method is one file with a pure function on tensors and one frozen dataclass of options, derived from
:class:`Method`, which says what the method ``needs`` and hands the given tensors to the function. Everything that
changes from step to step travels through a named tuple; the dataclass and the function keep nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from mtl.names import unknown

Needs = Literal["losses", "gramian", "jacobian"]
#: Of what the gradients are taken: all shared parameters, the features that the heads read, or the last shared layer.
Level = Literal["parameters", "features", "last_layer"]

#: A state field with one row a task, [T, ...]: the rows of tasks that take no part in a step stay as they are.
PerTask: TypeAlias = Annotated[Tensor, 1]
#: A state field with one entry a pair of tasks, [T, T, ...].
PerPair: TypeAlias = Annotated[Tensor, 2]
#: Numbers for each task: by name, or in task order. ``None`` is one for every task.
TaskValues: TypeAlias = Mapping[str, float] | Sequence[float] | None


class Answer(NamedTuple):
    """What a method returns for one step: weights [T], or a direction [P] where no weights exist.

    The scale convention: the plain sum of the tasks has weights of one.
    """

    weights: Tensor | None = None  # [T] float64 (by layer: [G, T]); the direction is weights @ jacobian
    direction: Tensor | None = None  # [P], from methods that work coordinate by coordinate
    residual: float | None = None  # how far from optimal (relative); None where nothing is solved
    converged: bool = True  # False: the solver stopped before its tolerance


class Size(NamedTuple):
    """What a state is made for: T tasks, P numbers a gradient (0 where only losses are used), G layer groups."""

    tasks: int
    parameters: int = 0
    groups: int = 1


@dataclass(frozen=True)
class Given:
    """What a method is given for one step: the T tasks that take part, in the fixed task order.

    ``losses`` [T] and ``gramian`` [T, T] are float64 and on the CPU, so that small problems are solved where
    small problems are fast. ``jacobian`` [T, P] lies on its own device, in float32 or float64, in a buffer that
    the next step overwrites: a state must copy what it keeps. None of the three may be written to.
    """

    method: str
    tasks: tuple[str, ...]  # the tasks that take part
    places: tuple[int, ...]  # their places among all tasks
    total: int  # the number of all tasks
    generator: torch.Generator  # on the CPU, so that every device draws the same numbers
    known_losses: Tensor | None = None
    known_gramian: Tensor | None = None
    known_jacobian: Tensor | None = None
    known_groups: Tensor | None = None  # [G, T, T], for methods that go by layer
    known_columns: tuple[int, Any] | None = None  # of how many columns the jacobian's are which: an index

    @property
    def losses(self) -> Tensor:
        """The values of the losses, [T] float64."""
        if self.known_losses is None:
            raise ValueError(
                f"{self.method} needs the losses of the tasks: combine(jacobian, {self.method!r}, losses=...)"
            )
        return self.known_losses

    @property
    def gramian(self) -> Tensor:
        """The inner products of the tasks' gradients, [T, T] float64."""
        return _declared(self.known_gramian, self.method, "gramian")

    @property
    def group_gramians(self) -> Tensor:
        """The inner products by layer group, [G, T, T]; one group for methods that do not go by layer."""
        return self.gramian[None] if self.known_groups is None else self.known_groups

    @property
    def jacobian(self) -> Tensor:
        """The tasks' gradients as rows, [T, P]."""
        return _declared(self.known_jacobian, self.method, "jacobian")

    def draw_columns(self) -> Tensor:
        """Uniform numbers in 0..1, one a column [P] of the jacobian, as if all columns of the step were here."""
        rows = self.jacobian  # drawn on the CPU, so that every device draws the same
        total, here = (rows.shape[1], slice(None)) if self.known_columns is None else self.known_columns
        return torch.rand(total, generator=self.generator)[here].to(rows)

    def pick(self, values: TaskValues, option: str, *, default: float = 1.0) -> Tensor:
        """The values of an option for the tasks that take part, [T] float64; ``default`` for ``None``."""
        if values is None:
            return torch.full((len(self.tasks),), default, dtype=torch.float64)
        label = f"{self.method}.{option}"
        if isinstance(values, Mapping):
            missing = [task for task in self.tasks if task not in values]
            if missing:
                raise ValueError(f"{label} has no value for task {missing[0]!r}; it names {list(values)}")
            return torch.tensor([values[task] for task in self.tasks], dtype=torch.float64)
        if len(values) != self.total:
            raise ValueError(
                f"{label} must have one value for each of the {self.total} tasks, got {len(values)}"
            )
        return torch.tensor([values[place] for place in self.places], dtype=torch.float64)


def _declared(tensor: Tensor | None, method: str, name: str) -> Tensor:
    if tensor is None:
        raise TypeError(f"{method} reads given.{name}, so it must declare needs = {name!r}")
    return tensor


@dataclass(frozen=True, kw_only=True)
class Method:
    """The options of a balancing method; each method's dataclass derives from it and defines ``solve``.

    ``needs`` sets the cost of a step: "losses" is one backward pass (and the heads are weighted like the trunk),
    "gramian" and "jacobian" one a task through the trunk (and each head gets its own task's plain gradient).
    Losses are given to every method, and the Gramian also to those that need the Jacobian.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs]
    #: The method learns from the losses after the update: `revise` is called with them.
    revises: ClassVar[bool] = False
    #: The weights apply to the heads too, also where the method needs gradients.
    weights_heads: ClassVar[bool] = False
    #: The answer is a direction, without weights.
    answers_direction: ClassVar[bool] = False
    #: Each number of the direction depends on its own column of the jacobian alone (draws: `Given.draw_columns`), and
    #: there is no state: several processes then work on some columns each.
    column_wise: ClassVar[bool] = False
    #: The state holds gradients, [T, P].
    keeps_gradients: ClassVar[bool] = False
    #: Where the gradients are taken unless the balancer is told otherwise.
    default_level: ClassVar[Level] = "parameters"

    @property
    def by_layer(self) -> bool:
        """The method asks for a Gramian a layer group, and answers weights [G, T]."""
        return False

    def init(self, size: Size) -> Any:
        """The state before the first step: a named tuple, or None.

        Its fields are tensors annotated :data:`PerTask`, :data:`PerPair` or plain (no task axis), numbers, or such
        named tuples.
        """
        del size

    def solve(self, given: Given, state: Any) -> tuple[Answer, Any]:
        """The answer for one step and the state after it; neither argument is written to."""
        del given, state
        raise TypeError(f"{type(self).__name__} does not define solve")

    def revise(self, given: Given, state: Any) -> Any:
        """The state after the update, when ``given.losses`` are those of the same batch after it."""
        del given
        return state


def check_losses(given: Given, *, zero: bool) -> None:
    """Refuse a step with a loss below zero, or at zero unless ``zero`` is allowed; the task is named."""
    for task, loss in zip(given.tasks, given.losses.tolist(), strict=True):
        if loss < 0 or (loss == 0 and not zero):
            raise ValueError(
                f"{given.method} needs losses {'>=' if zero else '>'} 0, the loss of task {task!r} is {loss:g}; "
                "use another balancer for it"
            )


def check_choice(method: str, option: str, value: object, choices: Sequence[str]) -> None:
    """Refuse an option that is none of the choices."""
    if value not in choices:
        raise unknown(f"{method}.{option}", str(value), choices)


def check_number(
    method: str,
    option: str,
    value: object,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    whole: bool = False,
) -> None:
    """Refuse an option that is no finite number, not > ``above``, >= ``least`` or <= ``most``, or not ``whole``."""
    number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    good = number and float("-inf") < float(value) < float("inf")  # type: ignore[arg-type]  # a number by now
    good = good and (above is None or value > above) and (least is None or value >= least)  # type: ignore[operator]  # as above
    good = good and (most is None or value <= most)  # type: ignore[operator]  # as above
    if not good:
        bounds = ((">", above), (">=", least), ("<=", most))
        limits = [
            f"{sign} {bound:g}" for sign, bound in bounds if bound is not None and abs(bound) < float("inf")
        ]
        kind = "a whole number" if whole else "a number"
        raise ValueError(
            f"{method}.{option} must be {' '.join([kind, ' and '.join(limits)]).strip()}, got {value!r}"
        )


def check_task_values(
    method: str,
    option: str,
    values: TaskValues,
    *,
    least: float = 0.0,
    most: float | None = None,
    some: bool = True,
) -> None:
    """Refuse per-task numbers that are not finite, below ``least``, or (where ``some`` must count) all zero."""
    if values is None:
        return
    if not isinstance(values, Mapping | list | tuple):
        raise TypeError(f"{method}.{option} must be numbers by task name or in task order, got {values!r}")
    numbers = list(values.values() if isinstance(values, Mapping) else values)
    for number in numbers:
        check_number(method, option, number, least=least, most=most)
    if some and not any(numbers):
        raise ValueError(f"{method}.{option} must have at least one value other than zero, got {values!r}")
