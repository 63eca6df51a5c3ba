"""Sharded models, and what a step sends."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

import mtl
from mtl.distributed import share

BY_LOSSES = [name for name, method in mtl.BALANCERS.items() if method.needs == "losses"]


def model(tasks: int = 3, width: int = 32) -> mtl.MultiTaskModel:
    with mtl.seeded(0):
        body = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 8))
        return mtl.MultiTaskModel(body, [mtl.Regression(f"t{k}") for k in range(tasks)], features=8)


def batch(tasks: int, rows: int = 7) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)
    targets = {f"t{k}": torch.randn(rows, generator=generator) for k in range(tasks)}
    targets["t0"][:4] = torch.nan
    return torch.randn(rows, 4, generator=generator), targets


def weights_after(
    net: mtl.MultiTaskModel, method: Any, steps: int = 3, **settings: Any
) -> list[torch.Tensor]:
    balancer = mtl.Balancer(method, **settings)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)  # Adam would not see a wrong factor
    inputs, targets = batch(len(net.tasks))
    for _ in range(steps):
        optimizer.zero_grad()
        losses = net.losses(net(share(inputs)), {name: share(target) for name, target in targets.items()})
        balancer.backward(losses, net)
        optimizer.step()
    whole = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in net.parameters()]
    return [p.detach() for p in whole]


def fsdp(whole: bool) -> mtl.MultiTaskModel:
    """A model in pieces; or its trunk alone."""
    net = model()
    mesh = dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in (net.backbone[0], net.backbone[2]):
        fully_shard(layer, mesh=mesh)
    if whole:
        fully_shard(net, mesh=mesh)
    return net


def sharded() -> dict[str, Any]:
    """Weights of sharded and of whole models by every method on losses; what others say to a sharded one."""
    found: dict[str, Any] = {}
    for method in BY_LOSSES:
        found[method] = (
            [weights_after(fsdp(whole), method) for whole in (True, False)],
            weights_after(model(), method),
        )
    refused = {}
    for method, settings in (("upgrad", {}), ("graddrop", {}), ("equal", {"match_norm": True})):
        try:
            weights_after(fsdp(True), method, **settings)
        except ValueError as error:
            refused[method] = str(error)
    return {"weights": found, "refused": refused}


def sent(tasks: int) -> dict[str, float]:
    """Bytes that a step sends, by setting; and those of all-reducing [T, P] and the heads' gradients."""
    found: dict[str, float] = {}
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("rows", "gradvac", {"groups": "layer"}),
        ("gramian", "upgrad", {}),
        ("column-wise", "graddrop", {}),
        ("losses", "equal", {}),
        ("features", "upgrad", {"level": "features"}),
        ("whole", "moco", {}),
    ]
    for label, method, settings in cases:
        net, balancer = model(tasks, width=4000), mtl.Balancer(method, **settings)
        inputs, targets = batch(tasks)
        for _ in range(2):  # the first step also sends the start
            losses = net.losses(net(share(inputs)), {name: share(target) for name, target in targets.items()})
            balancer.backward(losses, net)
        assert balancer.last is not None
        found[label] = balancer.last.sent_bytes
        heads = sum(p.numel() for p in net.heads.parameters())
        P = sum(p.numel() for p in net.shared_parameters())
    world = dist.get_world_size()
    found["plain"] = 2 * (world - 1) / world * 4 * (tasks * P + heads)
    found["one"] = 2 * (world - 1) / world * 4 * (P + heads)
    return found
