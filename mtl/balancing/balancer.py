"""The one stateful piece of balancing: keeps a method's state and generator, and writes gradients."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mtl.balancing.engine import TaskGradients, backward_weighted, combine_rows
from mtl.balancing.gramian import cosines, gramian, norms
from mtl.balancing.method import Answer, Given, Size
from mtl.balancing.registry import build
from mtl.balancing.state import from_plain, move, put, take, to_plain
from mtl.names import unknown


class Balanced(Protocol):
    """What a balancer asks of a model; `mtl.MultiTaskModel` has it."""

    @property
    def tasks(self) -> tuple[Any, ...]: ...
    def shared_parameters(self) -> list[nn.Parameter]: ...
    def parameters(self) -> Any: ...


@dataclass(frozen=True)
class Last:
    """What the last step did, for the T tasks that took part.

    Attributes:
        tasks: their names.
        weights: [T], or None for a method without weights.
        residual: the relative optimality residual of the problem solved, or None where nothing is solved.
        gramian, cosines, norms: [T, T], [T, T] and [T] of the shared gradients; None where only losses were used.
    """

    tasks: tuple[str, ...]
    weights: Tensor | None
    residual: float | None
    gramian: Tensor | None

    @property
    def cosines(self) -> Tensor | None:
        return None if self.gramian is None else cosines(self.gramian)

    @property
    def norms(self) -> Tensor | None:
        return None if self.gramian is None else norms(self.gramian)


class Balancer:
    """Writes the gradients of several losses into ``.grad``, balanced by a method of `mtl.BALANCERS`.

    Args:
        method: its name.
        seed: of the method's own generator.
        options: the method's own, checked by name.

    Attributes:
        last: `Last`, what the last step did; None before the first.

    Methods that need only losses weight them and run one backward pass, so that heads are weighted like the trunk.
    Methods on gradients run one pass a task, combine the gradients of the shared parameters, and leave each head the
    gradient of its own loss. As with ``Tensor.backward``, gradients are added to what ``.grad`` holds.

    >>> import mtl
    >>> model = mtl.MultiTaskModel(mtl.backbone("mlp", in_features=2), [mtl.Regression("a"), mtl.Regression("b")])
    >>> losses = model.losses(model(torch.ones(4, 2)), {"a": torch.ones(4), "b": torch.zeros(4)})
    >>> balancer = Balancer("upgrad")
    >>> balancer.backward(losses, model)
    >>> balancer.last.tasks, balancer.last.residual < 1e-8
    (('a', 'b'), True)
    """

    def __init__(self, method: str = "equal", *, seed: int = 0, **options: Any) -> None:
        self.method = build(method, options)
        self.name = method
        self.last: Last | None = None
        self._generator = torch.Generator().manual_seed(seed)
        self._tasks: tuple[str, ...] = ()
        self._state: Any = None
        self._loaded: Any = None  # a state from load_state_dict, until the first step tells the sizes
        self._gradients = TaskGradients()
        self._warned = False

    def backward(self, losses: Mapping[str, Tensor], model: Balanced) -> None:
        """Add the balanced gradients of ``losses`` {task: scalar} to the ``.grad`` of every parameter.

        A task of the model that is absent from ``losses`` takes no part, and its state stays as it was. Nothing is
        written where an error is raised. The graph of the losses is freed.

        Raises:
            ValueError: a loss that is NaN or infinite (its task is named), not a scalar, or without a graph; a name
                that is no task of the model; tasks that differ from those of the first call.
        """
        names = tuple(task.name for task in model.tasks)
        values = _checked(losses, names)
        present = tuple(name for name in names if name in losses)
        tensors = [losses[name] for name in present]
        shared = model.shared_parameters()
        by_loss = self.method.needs == "losses"
        self._prepare(names, 0 if by_loss else sum(p.numel() for p in shared))
        if by_loss:
            answer = self._solve(names, present, values)
            if answer.weights is None:
                raise ValueError(f"{self.name} needs only losses, so it must answer weights")
            backward_weighted(tensors, answer.weights)
            return
        if not shared:
            raise ValueError(f"{self.name} balances gradients of shared parameters, and the model has none")
        own = {id(p) for p in shared}
        heads = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
        rows = self._gradients.collect(tensors, shared, heads)
        products = gramian(rows).cpu()
        for name, square in zip(present, products.diagonal().tolist(), strict=True):
            if not square < float("inf"):
                raise ValueError(f"the gradient of task '{name}' is not finite, though its loss is")
        answer = self._solve(names, present, values, products, rows)
        self._gradients.write(combine_rows(answer.weights, answer.direction, rows))

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """Tell the losses of the same batch after the optimizer's step, to a method that learns from them (`famo`).

        Other methods take no notice; ``wants_losses_after_step`` says which one the balancer holds.
        """
        if not self.wants_losses_after_step or not self._tasks:
            return
        values = _checked(losses, self._tasks, graph=False)
        present = tuple(name for name in self._tasks if name in losses)
        places = tuple(self._tasks.index(name) for name in present)
        given = Given(
            method=self.name,
            tasks=present,
            places=places,
            total=len(self._tasks),
            generator=self._generator,
            known_losses=values,
        )
        at = torch.tensor(places)
        self._state = put(self._state, at, self.method.revise(given, take(self._state, at)))

    @property
    def wants_losses_after_step(self) -> bool:
        """Whether `after_step` has something to tell."""
        return self.method.revises

    def state_dict(self) -> dict[str, Any]:
        """State, generator and tasks as plain containers; continues bit for bit after `load_state_dict`."""
        tasks, state = self._tasks, to_plain(self._state) if self._tasks else None
        if self._loaded is not None:  # loaded, and no step yet
            tasks, state = self._loaded["tasks"], self._loaded["state"]
        return {
            "method": self.name,
            "tasks": list(tasks),
            "state": state,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave, of a balancer of the same method."""
        if state["method"] != self.name:
            raise ValueError(f"the state is of balancer '{state['method']}', this one is '{self.name}'")
        self._tasks = ()
        self._loaded = {"tasks": tuple(state["tasks"]), "state": state["state"]} if state["tasks"] else None
        self._generator.set_state(state["generator"])

    def _prepare(self, names: tuple[str, ...], parameters: int) -> None:
        """The state of the first step; afterwards the tasks stay as they are."""
        if self._tasks:
            if names != self._tasks:
                raise ValueError(
                    f"the model's tasks {list(names)} are not those of the first step {list(self._tasks)}"
                )
            return
        self._state = self.method.init(Size(len(names), parameters))
        if self._loaded is not None:
            if names != self._loaded["tasks"]:
                raise ValueError(
                    f"the loaded state is of tasks {list(self._loaded['tasks'])}, the model has {list(names)}"
                )
            self._state = from_plain(self._state, self._loaded["state"], f"state of {self.name}")
            self._loaded = None
        self._tasks = names

    def _solve(
        self,
        names: tuple[str, ...],
        present: tuple[str, ...],
        values: Tensor,
        products: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Answer:
        places = tuple(names.index(name) for name in present)
        given = Given(
            method=self.name,
            tasks=present,
            places=places,
            total=len(names),
            generator=self._generator,
            known_losses=values,
            known_gramian=products,
            known_jacobian=rows if self.method.needs == "jacobian" else None,
        )
        at = torch.tensor(places)
        state = self._state if rows is None else move(self._state, rows.device)
        answer, updated = self.method.solve(given, take(state, at))
        self._state = put(state, at, updated)
        if not answer.converged and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.name} stopped before its tolerance: relative residual {answer.residual:.1e}",
                stacklevel=3,
            )
        self.last = Last(present, answer.weights, answer.residual, products)
        return answer


def _checked(losses: Mapping[str, Tensor], names: tuple[str, ...], *, graph: bool = True) -> Tensor:
    """The values of the losses in task order, [T] float64 on the CPU."""
    if not losses:
        raise ValueError("there is no loss to balance: this batch has no label for any task")
    for name, loss in losses.items():
        if name not in names:
            raise unknown("task", name, names)
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            got = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"the loss of task '{name}' must be a scalar tensor, got {got}")
        if graph and not loss.requires_grad:
            raise ValueError(f"the loss of task '{name}' does not depend on any trainable parameter")
    present = [name for name in names if name in losses]
    values = (
        torch.stack([losses[name].detach() for name in present]).double().cpu()
    )  # one wait for the device
    for name, value in zip(present, values.tolist(), strict=True):
        if not abs(value) < float("inf"):
            raise ValueError(
                f"the loss of task '{name}' is {value}; look at its labels and inputs, or lower the learning rate"
            )
    return values
