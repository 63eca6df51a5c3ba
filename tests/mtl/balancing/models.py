"""Small models that the tests balance: the plain one, and all that is awkward about others."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import mtl

TASKS = (
    mtl.Classification("kind", classes=3),
    mtl.Regression("size"),
    mtl.MultiLabel("tags", labels=["x", "y"]),
)


class Two(nn.Module):
    """Two tasks on three numbers."""

    tasks = (mtl.Regression("a"), mtl.Regression("b"))

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def shared_parameters(self) -> list[nn.Parameter]:
        return [self.weight]


class Batches:
    """The same eight rows for every model, by seed."""

    dtype = torch.float32

    def batch(self, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(8, 4, generator=generator).to(self.dtype)
        return inputs, {
            "kind": torch.randint(0, 3, (8,), generator=generator),
            "size": torch.randn(8, generator=generator).to(self.dtype),
            "tags": torch.randint(0, 2, (8, 2), generator=generator).to(self.dtype),
        }


class Plain(Batches, mtl.MultiTaskModel):
    """The library's own model."""


class Checkpointed(nn.Module):
    """A block that is computed again in the backward pass."""

    def __init__(self, block: nn.Module, reentrant: bool) -> None:
        super().__init__()
        self.block, self.reentrant = block, reentrant
        self.out_features = 5

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = checkpoint(self.block, x, use_reentrant=self.reentrant)
        return found


class Written(Batches, nn.Module):
    """A model by hand: trunk, heads, and how features reach them."""

    tasks = TASKS

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 5)
        self.heads = nn.ModuleList([nn.Linear(5, 3), nn.Linear(5, 1), nn.Linear(5, 2)])

    def trunk(self, x: Tensor) -> Any:
        return torch.relu(self.second(torch.relu(self.first(x))))

    def heads_of(self, features: list[Any]) -> dict[str, Tensor]:
        return {t.name: head(z) for t, head, z in zip(self.tasks, self.heads, features, strict=True)}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.heads_of(mtl.fork(self.trunk(x), 3))

    def losses(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        return mtl.MultiTaskModel.losses(self, outputs, targets)  # type: ignore[arg-type]  # it asks for tasks alone

    def shared_parameters(self) -> list[nn.Parameter]:
        return [p for m in (self.first, self.second) for p in m.parameters() if p.requires_grad]


class Several(Written):
    """Features in a dict: the last layer, and one before."""

    def __init__(self) -> None:
        super().__init__()
        self.side = nn.Linear(6, 3)

    def trunk(self, x: Tensor) -> dict[str, Tensor]:
        early = torch.relu(self.first(x))
        return {"early": early, "late": torch.relu(self.second(early))}

    def heads_of(self, features: list[Any]) -> dict[str, Tensor]:
        kind, size, tags = features
        return {
            "kind": self.heads[0](kind["late"]) + self.side(kind["early"]),
            "size": self.heads[1](size["late"]),
            "tags": self.heads[2](tags["late"]),
        }


class Tied(Written):
    """A head that uses the trunk's own weight."""

    def heads_of(self, features: list[Any]) -> dict[str, Tensor]:
        found = super().heads_of(features)
        return {**found, "size": found["size"] + (features[1] @ self.second.weight).mean(dim=1, keepdim=True)}


class NoFeatures(Written):
    """No fork between trunk and heads."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.heads_of([self.trunk(x)] * 3)


class ReentrantHead(Written):
    """A head behind a re-entrant checkpoint."""

    def heads_of(self, features: list[Any]) -> dict[str, Tensor]:
        found = super().heads_of(features)
        return {**found, "size": checkpoint(self.heads[1], features[1], use_reentrant=True)}


class HalfReached(Written):
    """A part of the trunk that one task alone uses, and a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Linear(4, 5)
        self.first.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        late, extra = self.trunk(x), self.extra(x)
        views, extras = mtl.fork(late, 3), mtl.fork(extra, 3)
        return self.heads_of([views[0], views[1] + 0 * extras[1].mean(), views[2]])

    def shared_parameters(self) -> list[nn.Parameter]:
        return [p for m in (self.first, self.second, self.extra) for p in m.parameters() if p.requires_grad]


Zoo = (
    "plain", "normalised", "checkpointed", "reentrant", "written", "several", "tied", "no_features",
    "reentrant_head", "half_reached",
)  # fmt: skip


def make(kind: str) -> Any:
    """One of the `Zoo`, always with the same parameters."""
    with mtl.seeded(0):
        if kind in ("plain", "normalised", "checkpointed", "reentrant"):
            body: nn.Module = mtl.backbone("mlp", in_features=4, hidden=(6, 5))
            if kind == "normalised":
                body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5))
            elif kind != "plain":
                block = nn.Sequential(nn.ReLU(), nn.Linear(6, 5))
                body = nn.Sequential(nn.Linear(4, 6), Checkpointed(block, kind == "reentrant"))
            return Plain(body, TASKS, features=5)
        kinds = {
            "written": Written, "several": Several, "tied": Tied, "no_features": NoFeatures,
            "reentrant_head": ReentrantHead, "half_reached": HalfReached,
        }  # fmt: skip
        return kinds[kind]()


def step(model: Any, balancer: mtl.Balancer, seed: int = 1, **options: object) -> dict[str, Tensor]:
    """One forward and backward; the losses."""
    inputs, targets = model.batch(seed)
    losses = model.losses(model(inputs), targets)
    balancer.backward(losses, model, **options)
    return losses


def shared_gradient(model: Any) -> Tensor:
    return torch.cat([p.grad.flatten().double() for p in model.shared_parameters() if p.grad is not None])


def rows(model: Any, seed: int = 1) -> Tensor:
    """The tasks' gradients of the shared parameters, each by a pass of its own: [T, P]."""
    inputs, targets = model.batch(seed)
    losses = model.losses(model(inputs), targets)
    before = [p.grad for p in model.parameters()]
    found = []
    for loss in losses.values():
        for p in model.parameters():
            p.grad = None
        loss.backward(retain_graph=True)
        shared = model.shared_parameters()
        found.append(
            torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in shared])
        )
    for p, gradient in zip(model.parameters(), before, strict=True):
        p.grad = gradient
    return torch.stack(found).double()


def values(model: Any, seed: int = 1) -> list[float]:
    inputs, targets = model.batch(seed)
    return [float(loss.detach()) for loss in model.losses(model(inputs), targets).values()]


def head_gradients(model: Any) -> list[Tensor]:
    own = {id(p) for p in model.shared_parameters()}
    return [p.grad.clone() for p in model.parameters() if id(p) not in own and p.grad is not None]


def scaled_and_plain(model: Any, same: Any, method: str) -> list[tuple[Tensor, Tensor]]:
    """The gradients of a step with a gradient scaler, unscaled by it, and of a step without, of two equal models."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    step(model, mtl.Balancer(method), scaler=scaler)
    scaler.unscale_(torch.optim.SGD(model.parameters(), lr=0.1))
    step(same, mtl.Balancer(method))
    return [(a.grad, b.grad) for a, b in zip(model.parameters(), same.parameters(), strict=True)]


def error_in(dtype: torch.dtype, model: Any, method: str) -> float:
    """How far a step of the model in that precision is from the method on rows of float64, relative."""
    model = model.to(dtype)
    model.dtype = dtype
    step(model, mtl.Balancer(method))
    assert all(p.grad is not None and p.grad.dtype == dtype for p in model.parameters())
    expected = mtl.combine(rows(model), method)
    return float((shared_gradient(model) - expected).norm() / expected.norm())


def overflowing_step(model: Any, balancer: mtl.Balancer) -> bool:
    """A step whose scaled gradients overflow: whether the parameters stayed and the scale went down."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = [p.detach().clone() for p in model.parameters()]
    inputs, targets = model.batch(1)
    losses = {n: 1e4 * loss for n, loss in model.losses(model(inputs), targets).items()}
    balancer.backward(losses, model, scaler=scaler)
    scaler.step(optimizer)
    scaler.update()
    same = all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    return same and scaler.get_scale() < 2.0**127
