"""The one stateful piece of balancing: keeps a method's state and generator, and writes gradients."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mtl.balancing.checks import checked_settings, scale_of
from mtl.balancing.compared import Compared
from mtl.balancing.engine import Step, last_layer
from mtl.balancing.joined import backward_joined, batch_losses, refuse_sharded, same_start
from mtl.balancing.last import Balanced, Last, Parts, parts_of
from mtl.balancing.layers import columns_of, layer_groups
from mtl.balancing.method import Answer, Given, Level, Method, Size
from mtl.balancing.pending import Pending, Writer
from mtl.balancing.registry import build
from mtl.balancing.rows import Rows
from mtl.balancing.shards import Shards
from mtl.balancing.state import from_plain, move, put, take, to_plain
from mtl.distributed.losses import Joint
from mtl.distributed.ranks import Ranks, ranks


class Balancer:
    """Writes the gradients of several losses into ``.grad``, balanced by a method of `mtl.BALANCERS`.

    Args:
        method: its name, or a function [T, P] -> [P] of your own (a TorchJD aggregator is one), or a `Method`.
        seed: of the method's own generator.
        level: of what gradients are compared: ``"parameters"``, all shared ones (the default, except for `gradnorm`);
            ``"features"``, what the heads read, over the whole batch: one pass through the trunk instead of T, an upper
            bound of the problem (Sener and Koltun 2018); ``"last_layer"``, the last shared matrix with its bias.
        every: solve anew every so many steps, and use the last weights in between, for the cost of a plain sum.
        match_norm: rescale every direction to the length of the plain sum's, so that comparing methods is not comparing
            learning rates. Methods on losses then cost T passes too.
        smooth: running mean of the weights, this much of the last ones in each step (Zhou et al. 2022, CR-MOGM).
        stream: keep no gradients, but compare them layer by layer and pass the trunk once more: memory for T rows of
            the largest layer, in place of all.
        options: the method's own, checked by name.

    Attributes:
        last: `Last`, what the last step did; None before the first.

    Methods that need only losses weight them and run one backward pass, so that heads are weighted like the trunk.
    Methods on gradients pass the heads once and the trunk once a task, combine the gradients of the shared
    parameters, and leave each head the gradient of its own loss. As with ``Tensor.backward``, gradients are added to
    what ``.grad`` holds. Memory: one [T, P] buffer at the most, kept; less where layers are compared as factors (see
    `mtl.balancing.factors`), or with ``stream``.

    Among several processes (`mtl.distributed`) every one gets the gradients of the joined batch, and calls the same
    methods in the same order.

    >>> import mtl
    >>> model = mtl.MultiTaskModel(mtl.backbone("mlp", in_features=2), [mtl.Regression("a"), mtl.Regression("b")])
    >>> losses = model.losses(model(torch.ones(4, 2)), {"a": torch.ones(4), "b": torch.zeros(4)})
    >>> balancer = Balancer("upgrad")
    >>> balancer.backward(losses, model)
    >>> balancer.last.tasks, balancer.last.residual < 1e-8
    (('a', 'b'), True)
    """

    def __init__(
        self,
        method: str | Method | Callable[[Tensor], Tensor] = "equal",
        *,
        seed: int = 0,
        level: Level | None = None,
        every: int = 1,
        match_norm: bool = False,
        smooth: float = 0.0,
        stream: bool = False,
        **options: Any,
    ) -> None:
        self.method = build(method, options)
        self.name = self.method.name
        self.level: Level = self.method.default_level if level is None else level
        checked_settings(self.method, self.level, every, smooth, stream)
        self.every, self.match_norm, self.smooth, self.stream = every, match_norm, smooth, stream
        self.last: Last | None = None
        self._generator = torch.Generator().manual_seed(seed)
        self._tasks: tuple[str, ...] = ()
        self._state: Any = None
        self._loaded: Any = None  # a state from load_state_dict, until the first step tells the sizes
        self._steps = 0
        self._kept = torch.empty(0, dtype=torch.float64)  # [all tasks] the last weights, NaN: none yet
        self._rows = Rows()
        self._pending: Pending | None = None
        self._buffers: dict[object, Tensor] = {}  # what is sent to other processes
        self._met = False  # whether the processes have begun from one state
        self._warned = False

    def backward(
        self,
        losses: Mapping[str, Tensor],
        model: Balanced,
        *,
        scaler: Any = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Add the balanced gradients of ``losses`` {task: scalar} to the ``.grad`` of every parameter.

        A task of the model that is absent from ``losses`` takes no part, and its state stays as it was. Nothing is
        written where an error is raised. The graph of the losses is freed.

        Args:
            losses: {task: scalar}.
            model: what they were computed with.
            scaler: a ``torch.amp.GradScaler``: give the losses unscaled, here. Gradients are unscaled before
                anything is solved, and written scaled, as ``scaler.step`` expects. Where they overflow nothing is
                solved, and the scaler skips the step.
            counts: the labels behind each loss, where several processes join a plain dict of losses (`mtl.Losses`).

        Raises:
            ValueError: a loss that is NaN or infinite (its task is named), not a scalar, or without a graph; a name
                that is no task of the model; tasks that differ from those of the first call.
        """
        scale, together = scale_of(scaler, losses), ranks()
        if self.method.needs != "losses" or self.match_norm:
            refuse_sharded(model, self.name, together)
        joint, parts = self._begin(losses, model, counts, together)
        every_column = self.method.needs == "jacobian" and not self.method.column_wise
        every_column |= self._pending is not None and self.level == "last_layer"  # it is some of all columns
        shards = Shards(together, every_column, self._buffers)
        if self._pending is not None:
            self._add(joint, parts, scale)
            self._solve_pending(parts[0], model, scale, shards)
        elif self.method.needs == "losses" and not self.match_norm:
            answer = self._solve(joint.tasks, joint.values, None, shards)
            assert answer.weights is not None
            backward_joined(joint.parts, scale * answer.weights, model, together)
        else:
            self._by_gradients(joint, parts, model, scale, shards)
        self._steps += 1
        if together is not None and self.last is not None:
            self.last = replace(self.last, sent_bytes=together.sent_bytes)

    def accumulate(
        self,
        losses: Mapping[str, Tensor],
        model: Balanced,
        *,
        scaler: Any = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Keep the tasks' gradients of a micro-batch; the next `backward` adds its own and balances them together.

        Give each loss as its term of the whole batch's: divided by the number of micro-batches, or, where they differ
        in size or labels are missing, times the micro-batch's share of the task's labels. They then give what the whole
        batch gives, for every method. Costs T backward passes, also for methods that need only losses.
        """
        scale, together = scale_of(scaler, losses), ranks()
        if self.level == "features":
            raise ValueError(
                "accumulate adds up gradients of parameters, and level='features' has others in each micro-batch; "
                "use level='parameters'"
            )
        refuse_sharded(model, f"accumulating for {self.name}", together)
        joint, parts = self._begin(losses, model, counts, together)
        self._add(joint, parts, scale)

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """Tell the losses of the same batch after the optimizer's step, to a method that learns from them (`famo`).

        Other methods take no notice; ``wants_losses_after_step`` says which one the balancer holds.
        """
        if not self.wants_losses_after_step or not self._tasks:
            return
        present, values, _ = batch_losses(losses, self._tasks, ranks(), graph=False)
        given = self._given(present, values)
        at = torch.tensor(given.places)
        self._state = put(self._state, at, self.method.revise(given, take(self._state, at)))

    @property
    def wants_losses_after_step(self) -> bool:
        """Whether `after_step` has something to tell."""
        return self.method.revises

    def state_dict(self) -> dict[str, Any]:
        """State, generator and tasks as plain containers; continues bit for bit after `load_state_dict`."""
        tasks, state, kept = self._tasks, to_plain(self._state) if self._tasks else None, self._kept.clone()
        if self._loaded is not None:  # loaded, and no step yet
            tasks, state, kept = self._loaded["tasks"], self._loaded["state"], self._loaded["weights"]
        return {
            "method": self.name,
            "tasks": list(tasks),
            "state": state,
            "generator": self._generator.get_state(),
            "steps": self._steps,
            "weights": kept,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave, of a balancer of the same method."""
        if state["method"] != self.name:
            raise ValueError(f"the state is of balancer '{state['method']}', this one is '{self.name}'")
        self._tasks, self._pending, self._met = (), None, False
        loaded = {"tasks": tuple(state["tasks"]), "state": state["state"], "weights": state["weights"]}
        self._loaded = loaded if state["tasks"] else None
        self._generator.set_state(state["generator"])
        self._steps = state["steps"]

    def undo(self) -> Callable[[], None]:
        """A function that puts the balancer back to where it is now, for a step that a gradient scaler skips."""
        before, drawn = dict(vars(self)), self._generator.get_state()

        def restore() -> None:
            vars(self).update(before)  # states are never written into, so references are enough
            self._generator.set_state(drawn)

        return restore

    def _begin(
        self,
        losses: Mapping[str, Tensor],
        model: Balanced,
        counts: Mapping[str, int] | None,
        together: Ranks | None,
    ) -> tuple[Joint, Parts]:
        """The losses of the joined batch and the model's parameters, with a state to begin from."""
        names = tuple(task.name for task in model.tasks)
        joint, parts = batch_losses(losses, names, together, counts), parts_of(model)
        if not parts[0] and (self.method.needs != "losses" or self.match_norm):
            raise ValueError(f"{self.name} balances gradients of shared parameters, and the model has none")
        self._prepare(names, parts[0], model, together)
        return joint, parts

    def _prepare(
        self, names: tuple[str, ...], shared: list[nn.Parameter], model: Balanced, together: Ranks | None
    ) -> None:
        """The state of the first step; afterwards the tasks stay as they are."""
        if together is not None and not self._met:
            settings = (self.name, self.level, self.every, self.match_norm, self.smooth, self.stream)
            theirs = same_start(self.state_dict(), settings, together)
            if theirs is not None:
                self.load_state_dict(theirs)
            self._met = True
        if self._tasks:
            if names != self._tasks:
                raise ValueError(
                    f"the model's tasks {list(names)} are not those of the first step {list(self._tasks)}"
                )
            return
        if self.method.needs == "losses":
            size = Size(len(names))
        else:
            columns = last_layer(model, shared) if self.level == "last_layer" else shared  # type: ignore[arg-type]  # modules() is all it asks
            groups = len(layer_groups(model, shared)[0]) - 1 if self.method.by_layer else 1
            size = Size(len(names), sum(p.numel() for p in columns), groups)
        self._state = self.method.init(size)
        self._kept = torch.full((len(names),), torch.nan, dtype=torch.float64)
        if self._loaded is not None:
            if names != self._loaded["tasks"]:
                raise ValueError(
                    f"the loaded state is of tasks {list(self._loaded['tasks'])}, the model has {list(names)}"
                )
            self._state = from_plain(self._state, self._loaded["state"], f"state of {self.name}")
            self._kept = self._loaded["weights"].clone()
            self._loaded = None
        self._tasks = names

    def _by_gradients(
        self, joint: Joint, parts: Parts, model: Balanced, scale: float, shards: Shards
    ) -> None:
        (shared, heads), present = parts, joint.tasks
        weigh_heads = self.method.weights_heads or self.method.needs == "losses"
        step = Step(
            joint.parts,
            shared,
            heads,
            self._rows,
            level=self.level,
            scale=scale,
            keep=weigh_heads,
            shards=shards,
        )
        kept = self._kept[self._places(present)]
        if self._steps % self.every and not bool(kept.isnan().any()):
            self.last = Last(present, kept, None, None, refreshed=False)
            step.write(Answer(kept), weigh_heads=weigh_heads)
            return
        starts = layer_groups(model, shared)[0] if self.method.by_layer else []
        if self.level == "last_layer":
            rows = step.rows(columns=last_layer(model, shared))  # type: ignore[arg-type]  # modules() is all it asks
        elif self.method.needs == "jacobian" or starts:
            rows = step.rows()
        else:
            found = Compared(step.products(stream=self.stream), scale, shards=shards)
            self._solve_and_write(present, joint.values, found, step, weigh_heads)
            return
        found = Compared.of(rows, scale, starts, shards)
        self._solve_and_write(present, joint.values, found, step, weigh_heads)

    def _solve_and_write(
        self,
        present: tuple[str, ...],
        values: Tensor,
        found: Compared,
        step: Step | Writer,
        weigh_heads: bool,
    ) -> None:
        bad = found.not_finite()
        if bad is not None and found.scale != 1.0:  # overflow: the scaler sees it and skips the step
            step.write(Answer(torch.full((len(present),), torch.nan, dtype=torch.float64)))
            return
        if bad is not None:
            raise ValueError(f"the gradient of task '{present[bad]}' is not finite, though its loss is")
        answer = self._solve(present, values, found, found.shards)
        factor = found.matching(answer) if self.match_norm else 1.0
        self.last = Last(present, answer.weights, answer.residual, found.products, factor)
        if answer.direction is not None and found.scale != 1.0:
            answer = answer._replace(direction=found.scale * answer.direction)
        step.write(answer, found.starts, factor=factor, weigh_heads=weigh_heads)

    def _add(self, joint: Joint, parts: Parts, scale: float) -> None:
        """The gradients of a micro-batch, added to the rows of the tasks."""
        shared, heads = parts
        if self.method.needs == "losses" or self.method.weights_heads:  # of the heads too: they are weighted
            shared, heads = [*shared, *heads], []
        if self._pending is None:
            self._rows.open(len(self._tasks), shared)
            self._rows.clear()
            self._pending = Pending.start(len(self._tasks))
        places = self._places(joint.tasks)
        step = Step(joint.parts, shared, heads, self._rows, scale=scale)
        step.rows(places=places)
        self._pending.add(places, joint.values, heads, step.head_gradients)

    def _solve_pending(
        self, shared: list[nn.Parameter], model: Balanced, scale: float, shards: Shards
    ) -> None:
        pending, self._pending = self._pending, None
        assert pending is not None
        places = pending.places()
        present = tuple(self._tasks[place] for place in places)
        writer = pending.writer(self._rows, sum(p.numel() for p in shared), shards)
        kept = self._kept[places]
        if self._steps % self.every and not bool(kept.isnan().any()):
            self.last = Last(present, kept, None, None, refreshed=False)
            writer.write(Answer(kept))
            return
        starts = layer_groups(model, shared)[0] if self.method.by_layer else []
        rows = writer.found[:, : writer.shared]
        if self.level == "last_layer":
            rows = rows[:, columns_of(last_layer(model, shared), shared)]  # type: ignore[arg-type]  # modules() is all it asks
        found = Compared.of(rows, scale, starts, shards)
        if self.method.needs == "jacobian":
            assert writer.found.shape[1] == writer.shared  # no method on rows weights the heads
        self._solve_and_write(present, pending.losses[places], found, writer, False)

    def _places(self, present: tuple[str, ...]) -> list[int]:
        return [self._tasks.index(name) for name in present]

    def _given(self, present: tuple[str, ...], values: Tensor, found: Compared | None = None) -> Given:
        return Given(
            method=self.name,
            tasks=present,
            places=tuple(self._places(present)),
            total=len(self._tasks),
            generator=self._generator,
            known_losses=values,
            known_gramian=None if found is None else found.products,
            known_jacobian=found.unscaled()
            if found is not None and self.method.needs == "jacobian"
            else None,
            known_groups=None if found is None else found.groups,
            known_columns=None if found is None else found.shards.which(),
        )

    def _solve(
        self, present: tuple[str, ...], values: Tensor, found: Compared | None, shards: Shards
    ) -> Answer:
        given = self._given(present, values, found)
        at = torch.tensor(given.places)
        state = self._state
        if given.known_jacobian is not None:
            state = move(state, given.known_jacobian.device)
        answer, updated = self.method.solve(given, take(state, at))
        if answer.weights is None and self.method.needs == "losses":
            raise ValueError(f"{self.name} needs only losses, so it must answer weights")
        self._state = put(state, at, updated)
        answer = shards.agreed(answer)
        if not answer.converged and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.name} stopped before its tolerance: relative residual {answer.residual:.1e}",
                stacklevel=5,
            )
        if answer.weights is not None and answer.weights.dim() == 1:
            weights, before = answer.weights, self._kept[at]
            if self.smooth:
                weights = torch.where(
                    before.isnan(), weights, self.smooth * before + (1 - self.smooth) * weights
                )
                answer = answer._replace(weights=weights)
            self._kept = self._kept.index_put((at,), weights)
        self.last = Last(present, answer.weights, answer.residual, None if found is None else found.products)
        return answer
