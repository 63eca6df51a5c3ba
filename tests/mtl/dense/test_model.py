"""Dense and other tasks over one pyramid: shapes, and all that training does with them unchanged."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mtl
from mtl.balancing.fork import find_fork
from mtl.conflict import measure_conflict
from mtl.dense.heads import DenseHead, Pooled
from mtl.training.selection import Selection
from tests.mtl.balancing.models import head_gradients, rows, shared_gradient, step, values
from tests.mtl.dense.models import TASKS, data, fitted, model
from tests.mtl.distributed.processes import together
from tests.mtl.distributed.test_equal import difference
from tests.mtl.resumed import CutError, same

GRADIENTS = [name for name, kind in mtl.BALANCERS.items() if kind.needs != "losses"]
LOSSES = [name for name, kind in mtl.BALANCERS.items() if kind.needs == "losses"]
PYRAMIDS: dict[str, dict[str, Any]] = {
    "pyramid/convnet": {},
    "pyramid/timm/resnet10t": {},
    "pyramid/timm/mobilenetv3_small_050": {"in_channels": 3, "out_indices": (1, 2, 3)},
}


# ---- shapes


@pytest.mark.parametrize("name", PYRAMIDS)
@pytest.mark.parametrize("size", [(64, 64), (50, 70)])
def test_outputs_have_the_images_resolution(name: str, size: tuple[int, int]) -> None:
    net = mtl.MultiTaskModel(mtl.backbone(name, **PYRAMIDS[name]), TASKS).eval()
    maps = net.backbone(torch.zeros(2, 3, *size)).maps
    assert tuple(z.shape[1] for z in maps) == net.backbone.channels
    outputs = net(torch.zeros(2, 3, *size))
    for task in TASKS:
        places = size if getattr(task, "dense", False) else ()
        assert outputs[task.name].shape == (2, task.output_size, *places)


def test_a_family_with_channels_last() -> None:
    """Swin's maps come as [B, H, W, C]."""
    body = mtl.backbone("pyramid/timm/swin_tiny_patch4_window7_224", image_size=64, depths=(1, 1, 1, 1))
    maps = body(torch.zeros(1, 3, 64, 64)).maps
    assert [tuple(z.shape) for z in maps] == [
        (1, c, 16 // 2**k, 16 // 2**k) for k, c in enumerate(body.channels)
    ]


def test_the_decoder_by_hand() -> None:
    """Two maps of one channel, all weights one: the sum of the fine map and the enlarged coarse one."""
    head = DenseHead((1, 1), outputs=1, width=1)
    for name, parameter in head.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    head.smooth[0].weight.data.zero_()[0, 0, 1, 1] = 1.0
    fine, coarse = torch.arange(16.0).reshape(1, 1, 4, 4), torch.tensor([[[[0.0, 4.0], [8.0, 12.0]]]])
    enlarged = torch.tensor([[0.0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]])
    found = head(mtl.Pyramid([fine, coarse], (4, 4)))
    torch.testing.assert_close(found[0, 0], fine[0, 0] + enlarged)
    assert head(mtl.Pyramid([fine, coarse], (7, 9))).shape == (1, 1, 7, 9)


def test_other_tasks_read_the_pooled_coarsest_map() -> None:
    net = model()
    images = torch.rand(3, 3, 12, 10, dtype=torch.float64)
    net.eval()
    last = net.backbone(images).maps[-1]  # [3, 8, 3, 3]: cells of 2 x 2 overlap in the middle
    cells = [last[:, :, y : y + 2, x : x + 2].mean(dim=(2, 3)) for y in (0, 1) for x in (0, 1)]
    pooled = torch.stack(cells, dim=2).flatten(1)
    head = net.heads[4]
    assert isinstance(head, Pooled)
    torch.testing.assert_close(net(images)["counts"], head.head(pooled))
    assert net.features == net.backbone.out_features == pooled.shape[1]


def test_heads_by_name_factory_and_module() -> None:
    body = mtl.backbone("pyramid/convnet", widths=(4, 6), pool=1)
    own = DenseHead((4, 6), outputs=1, width=5)
    heads = {"segmentation": partial(mtl.dense_head, width=7), "depth": own, "counts": "mlp"}
    net = mtl.MultiTaskModel(body, TASKS, heads)
    assert net.heads[0].last.in_channels == 7
    assert net.heads[1] is own
    assert net.heads[2].last.in_channels == 32
    assert isinstance(net.heads[4].head, nn.Sequential)
    assert net(torch.zeros(2, 3, 8, 8))["counts"].shape == (2, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mtl.MultiTaskModel(mtl.backbone("convnet"), TASKS), "'segmentation' is dense .* ConvNet gives one"),
        (lambda: mtl.MultiTaskModel(mtl.backbone("pyramid/convnet"), TASKS, "lienar"), "did you mean 'linear'"),
        (lambda: mtl.backbone("pyramid/convnt"), "no pyramid 'convnt'; did you mean 'convnet'"),
        (lambda: mtl.backbone("pyramid"), "e.g. 'pyramid/timm/resnet18'"),
        (lambda: mtl.backbone("pyramid/timm/resnet81"), "did you mean 'resnet"),
        (lambda: mtl.backbone("pyramid/convnet", width=(3,)), "did you mean 'widths'"),
        (lambda: mtl.backbone("pyramid/convnet", pool=0), "pool must be at least 1, got 0"),
        (lambda: mtl.backbone("pyramid/convnet", widths=()), "positive widths"),
        (lambda: mtl.backbone("pyramid/timm/resnet18", out_indices=(9,)), "timm makes no feature maps"),
        (lambda: mtl.backbone("pyramid/convnet")(torch.zeros(1, 3, 8, 8)), r"at least 16x16, got \[1, 3, 8, 8\]"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_says_why(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# ---- balancing


def test_the_heads_are_passed_once_and_the_trunk_once_a_task() -> None:
    net = model()
    losses = net.losses(net(net.batch(1)[0]), net.batch(1)[1])
    shared = net.shared_parameters()
    heads = [p for task in TASKS for p in net.head_parameters(task.name)]
    found = find_fork(list(losses.values()), shared, heads)
    assert found is not None
    assert len(found.trunk) == 3  # one edge a map
    assert [len(edges) for edges in found.aliases] == [3, 3, 3, 3, 1, 1]
    counts = {"trunk": 0, "head": 0}
    for name, parameter in (("trunk", shared[0]), ("head", net.heads[0].last.weight)):

        def count(_: Tensor, name: str = name) -> None:
            counts[name] += 1

        parameter.register_hook(count)
    step(net, mtl.Balancer("upgrad"))
    assert counts == {"trunk": 6, "head": 1}


@pytest.mark.parametrize("name", GRADIENTS)
def test_every_method_on_gradients_gets_those_of_each_task(name: str) -> None:
    options = {"level": "parameters"} if name == "gradnorm" else {}
    net, plain = model(), model()
    losses = step(net, mtl.Balancer(name, seed=1, **options))
    numbers = [float(loss.detach()) for loss in losses.values()]
    expected = mtl.combine(rows(model()), name, seed=1, losses=numbers)
    torch.testing.assert_close(shared_gradient(net), expected, rtol=1e-5, atol=1e-8)
    if name != "gradnorm":  # which weighs the heads too
        inputs, targets = plain.batch(1)
        sum(plain.losses(plain(inputs), targets).values()).backward()
        for ours, own in zip(head_gradients(net), head_gradients(plain), strict=True):
            torch.testing.assert_close(ours, own)


@pytest.mark.parametrize("name", LOSSES)
def test_every_method_on_losses_weights_them(name: str) -> None:
    net, balancer = model(), mtl.Balancer(name, seed=1)
    step(net, balancer)
    assert balancer.last is not None
    assert balancer.last.weights is not None
    torch.testing.assert_close(shared_gradient(net), balancer.last.weights @ rows(model()))


@pytest.mark.parametrize("name", ["mgda", "upgrad", "graddrop"])
def test_the_level_of_features_is_that_of_all_maps(name: str) -> None:
    """The shared parameters reach every loss through the maps alone, so stacked they are what the bound asks for."""
    net, balancer = model(), mtl.Balancer(name, level="features", seed=2)
    inputs, targets = net.batch(1)
    maps = [z.detach().requires_grad_() for z in net.backbone(inputs).maps]
    pyramid = mtl.Pyramid(maps, (12, 10))
    outputs = {task.name: head(pyramid) for task, head in zip(TASKS, net.heads, strict=True)}
    by_maps = []
    for loss in net.losses(outputs, targets).values():
        parts = torch.autograd.grad(loss, maps, retain_graph=True, allow_unused=True)
        by_maps.append(
            torch.cat([(z * 0 if g is None else g).flatten() for g, z in zip(parts, maps, strict=True)])
        )
    J = torch.stack(by_maps).detach()
    step(net, balancer)
    assert balancer.last is not None
    torch.testing.assert_close(balancer.last.gramian, J @ J.T, rtol=1e-5, atol=1e-12)
    if balancer.last.weights is not None:
        direction = mtl.combine(J, name, losses=values(model()), seed=2)
        torch.testing.assert_close(balancer.last.weights @ J, direction, rtol=1e-4, atol=1e-9)
        torch.testing.assert_close(shared_gradient(net), balancer.last.weights @ rows(model()))


def test_a_compiled_backbone() -> None:
    net = model()
    net.backbone = torch.compile(net.backbone, backend="aot_eager")
    step(net, mtl.Balancer("upgrad"))
    torch.testing.assert_close(
        shared_gradient(net), mtl.combine(rows(model()), "upgrad"), rtol=1e-5, atol=1e-8
    )


def test_conflict_is_measured_by_stage() -> None:
    """Of timm's body and not of the module around it."""
    net = mtl.MultiTaskModel(mtl.backbone("pyramid/timm/resnet10t"), TASKS[1:3])
    targets = {
        "depth": torch.ones(2, 32, 32),
        "normals": torch.zeros(2, 3, 32, 32).index_fill(1, torch.tensor(2), 1),
    }
    found = measure_conflict(net.losses(net(torch.rand(2, 3, 32, 32)), targets), net)
    assert {"layer1", "layer4"} < set(found.groups)
    own = model()
    inputs, targets = own.batch(1)
    assert list(measure_conflict(own.losses(own(inputs), targets), own).groups) == [
        "stage0",
        "stage1",
        "stage2",
    ]


# ---- training


def test_two_processes_train_as_one_does() -> None:
    one = fitted()
    for found in together(fitted, 2):
        assert {name: d for name in one if not (d := difference(found[name], one[name])) < 1e-6} == {}


@pytest.mark.parametrize("balancer", ["equal", "upgrad", "uncertainty"])
def test_micro_batches_train_like_whole_batches(balancer: str) -> None:
    """Pixels are missing, so that each task's share of a micro-batch is its own."""

    def weights(accumulate: int) -> Tensor:
        result = mtl.fit(
            model(normalised=False), data(11), balancer=balancer, accumulate=accumulate, batch_size=8, steps=4,
            optimizer="sgd", lr=0.05, seed=3, dynamics_every=None,
        )  # fmt: skip
        return torch.cat([p.detach().flatten() for p in result.model.parameters()])

    whole, split = weights(1), weights(3)
    torch.testing.assert_close(split, whole, rtol=1e-7, atol=1e-9)


def test_goes_on_after_a_cut_bit_for_bit(tmp_path: Path) -> None:
    steps = 0

    def run(folder: Path, cut: int | None) -> mtl.FitResult:
        nonlocal steps
        steps = 0

        def augment(images: Tensor, _: torch.Generator) -> Tensor:
            nonlocal steps
            steps += 1
            if steps == cut:
                raise CutError
            return images

        return mtl.fit(
            model(), data(20), data(5, 1), epochs=2, batch_size=8, balancer="upgrad", augment=augment, seed=3,
            checkpoints=folder, resume=True, recovery_minutes=0.0, progress=False, dynamics_every=3,
        )  # fmt: skip

    whole = run(tmp_path / "whole", None)
    with pytest.raises(CutError):
        run(tmp_path / "cut", 5)
    resumed = run(tmp_path / "cut", None)
    assert steps == 2  # of six
    assert same(dict(resumed.model.state_dict()), dict(whole.model.state_dict()))
    assert same(resumed.records, whole.records)


@pytest.mark.parametrize(("precision", "room"), [("bf16", 0.1), ("fp16", 0.02)])
def test_half_precision_gives_nearly_the_same_gradients(precision: str, room: float) -> None:
    """Outputs and losses are float32; the direction of all gradients together is that of fp32."""
    from mtl.training.precision import Precision

    def gradient(name: str) -> Tensor:
        net = model().float()
        net.dtype = torch.float32
        inputs, targets = net.batch(1)
        computed = Precision(name, net)
        if computed.scaler is not None:  # the first scale overflows, and training would halve it
            computed.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
        outputs = computed.forward(net, inputs)
        assert all(output.dtype == torch.float32 for output in outputs.values())
        mtl.Balancer("upgrad").backward(net.losses(outputs, targets), net, scaler=computed.scaler)
        return torch.cat([p.grad.flatten() / computed.scale for p in net.parameters() if p.grad is not None])

    expected, found = gradient("fp32"), gradient(precision)
    assert float((found - expected).norm() / expected.norm()) < room


@pytest.mark.parametrize("name", ["segmentation", "depth", "normals", "boundary"])
def test_an_auxiliary_dense_task_is_trained_as_others_and_does_not_choose_the_checkpoint(name: str) -> None:
    tasks = tuple(replace(task, auxiliary=task.name == name) for task in TASKS)  # type: ignore[type-var]
    trained = []
    for own in (TASKS, tasks):
        net = model()
        net.tasks = own
        mtl.fit(net, data(8), steps=2, batch_size=4, select="last", progress=False)
        trained.append(net.state_dict())
    assert same(*trained)
    scores = {task.name: {"loss": 1.0} for task in tasks}
    selection = Selection("loss", tasks, has_validation=True)
    better = [{}, {name: {"loss": 0.0}}, {"counts": {"loss": 0.5}}]
    assert [selection.improves({**scores, **own}) for own in better] == [True, False, True]
