"""What a dense task looks at: regions of a model's own outputs."""

import pytest
import torch
from torch import Tensor

import explain
import mtl
from tests.mtl.dense.models import TASKS, data, model


@pytest.fixture
def images() -> Tensor:
    return data(3).inputs


def test_a_predicted_region_by_autograd(images: Tensor) -> None:
    """The gradient of the mean logit of a class over the pixels where it is the largest, image by image."""
    net = model().eval()
    most = net(images)["segmentation"].argmax(dim=1).flatten(1).mode(dim=1).values  # predicted somewhere
    target = explain.Region("predicted", label=most)
    found = explain.saliency(net, images, "segmentation", target=target, batch_size=2)
    for i, label in enumerate(most.tolist()):
        x = images[i : i + 1].clone().requires_grad_()
        output = net(x)["segmentation"]
        inside = output.argmax(dim=1)[0] == label
        (expected,) = torch.autograd.grad(output[0, label][inside].mean(), x)
        torch.testing.assert_close(found[i : i + 1], expected)


@pytest.mark.parametrize(
    "method",
    ["gradient", "integrated_gradients", "deeplift", "lrp", "guided_backprop", "grad_cam", "layercam", "occlusion"],
)  # fmt: skip
def test_all_tasks_from_one_call(method: str, images: Tensor) -> None:
    """Each map is the one that the task has by itself; of CAMs at the layer that all tasks read, given then."""
    mask = torch.ones(12, 10, dtype=torch.bool)
    target = {
        "segmentation": explain.Region(mask, label="predicted"),
        "depth": explain.Region(mask),
        "normals": explain.Region(mask, label=2),
        "boundary": explain.Region(mask),
        "counts": lambda output: output.sum(dim=1),
    }
    net = model().float().eval()
    images = images.float()
    together = explain.saliency(net, images, method=method, target=target)
    assert list(together) == [task.name for task in TASKS]
    for task in ("depth", "relation"):
        own = target.get(task, "predicted")
        layer = {"layer": net.backbone.stage2} if method in ("grad_cam", "layercam") else {}
        alone = explain.saliency(net, images, task, method=method, target=own, **layer)
        assert float(alone.abs().max()) > 0
        torch.testing.assert_close(together[task], alone, rtol=1e-3, atol=1e-6)


def test_a_dense_task_without_a_region_is_told_what_to_give(images: Tensor) -> None:
    net = mtl.MultiTaskModel(mtl.backbone("pyramid/convnet", widths=(4, 6)), TASKS[:1])
    with pytest.raises(ValueError, match=r"task 'segmentation' gives .* needs target=explain.Region"):
        explain.saliency(net, images.float())
