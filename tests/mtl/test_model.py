"""The model: heads in a ModuleList, tasks in order, backbones by name."""

import math
from functools import partial

import pytest
import torch
from torch import nn

import mtl

TASKS = [mtl.Classification("left", classes=10), mtl.Regression("area")]


def small(tasks: list[mtl.Task] = TASKS, **options: object) -> mtl.MultiTaskModel:
    with mtl.seeded(0):
        return mtl.MultiTaskModel(mtl.backbone("mlp", in_features=4, hidden=(6,)), tasks, **options)


def test_heads_are_a_module_list_in_task_order() -> None:
    model = small()
    assert isinstance(model.heads, nn.ModuleList)
    outputs = model(torch.zeros(3, 4))
    assert list(outputs) == ["left", "area"]
    assert torch.equal(outputs["area"], model.heads[1](model.backbone(torch.zeros(3, 4))))


def test_parameters_are_split_between_trunk_and_heads() -> None:
    model = small()
    model.backbone[1].bias.requires_grad_(False)
    shared = {id(p) for p in model.shared_parameters()}
    heads = {id(p) for task in TASKS for p in model.head_parameters(task.name)}
    assert not shared & heads
    assert shared | heads == {id(p) for p in model.parameters() if p.requires_grad}


def test_losses_leave_out_tasks_without_labels() -> None:
    model = small()
    outputs = model(torch.zeros(2, 4))
    losses = model.losses(outputs, {"left": torch.tensor([-1, -1]), "area": torch.tensor([1.0, math.nan])})
    assert list(losses) == ["area"]
    assert list(model.losses(outputs, {"left": torch.tensor([1, 2])})) == ["left"]
    with pytest.raises(ValueError, match="no label for any task"):
        model.losses(outputs, {"left": torch.tensor([-1, -1])})
    with pytest.raises(ValueError, match="no task 'lef'; did you mean 'left'"):
        model.losses(outputs, {"lef": torch.tensor([1, 2])})


def test_heads_by_name_factory_and_module() -> None:
    own = nn.Linear(6, 1)
    model = small(heads={"left": partial(mtl.mlp_head, hidden=(5,)), "area": own})
    assert model.heads[0][0].out_features == 5
    assert model.heads[1] is own
    assert isinstance(small(heads="mlp").heads[0], nn.Sequential)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small(tasks=[]), "at least one task"),
        (lambda: small(tasks=[TASKS[0], TASKS[0]]), "task names must differ"),
        (lambda: small(heads="lienar"), "no head 'lienar'; did you mean 'linear'"),
        (lambda: small(heads={"rigth": "mlp"}), "no task 'rigth'"),
        (lambda: small(heads=nn.Linear(6, 1)), "one head module cannot serve several tasks"),
        (lambda: mtl.MultiTaskModel(nn.ReLU(), TASKS), r"ReLU has no out_features.*features="),
        (lambda: mtl.backbone("cn"), "no backbone 'cn'; did you mean 'cnn'"),
        (lambda: mtl.backbone("cnn", in_chanels=1), "did you mean 'in_channels'"),
        (lambda: mtl.backbone("mlp"), "needs in_features"),
        (lambda: mtl.backbone("timm/resnet81"), "did you mean 'resnet"),
        (lambda: mtl.backbone("timm"), "which timm model"),
        (lambda: mtl.backbone("torchvison/resnet18"), "did you mean 'torchvision'"),
        (lambda: mtl.backbone("torchvision/resnet19"), "no torchvision model 'resnet19'"),
        (lambda: mtl.backbone("torchvision/squeezenet1_0"), "does not end in a linear layer"),
        (lambda: mtl.backbone("cnn", image_size=3), "image_size >= 4"),
        (lambda: mtl.dataset("multimnst"), "did you mean 'multimnist'"),
        (lambda: mtl.dataset("diabetes", rows=3), "no option of data set 'diabetes' 'rows'"),
        (lambda: mtl.dataset("diabetes", train=500), "cannot split 442 examples"),
    ],
)
def test_what_cannot_be_built_says_why(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_wrong_image_size_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match=r"built for images \[B, 1, 36, 36\], got \[2, 1, 28, 28\]"):
        mtl.backbone("cnn", image_size=36)(torch.zeros(2, 1, 28, 28))


def test_features_of_the_wrong_shape_are_refused() -> None:
    model = mtl.MultiTaskModel(nn.Conv2d(1, 2, 3), TASKS, features=2)
    with pytest.raises(ValueError, match=r"the backbone must give \[B, 2\], got \[1, 2, 3, 3\].*flatten"):
        model(torch.zeros(1, 1, 5, 5))


@pytest.mark.parametrize(
    "name",
    [
        "timm/resnet10t",
        "timm/mobilenetv3_small_050",
        "timm/vit_tiny_patch16_224",
        "torchvision/resnet18",
        "torchvision/mobilenet_v2",
        "torchvision/vgg11",
        "torchvision/densenet121",
        "torchvision/vit_b_16",
    ],
)
def test_out_features_is_what_comes_out(name: str) -> None:
    """timm's num_features is not what its MobileNetV3 gives: head_hidden_size is."""
    channels = 1 if "vit_b" not in name else 3
    backbone = mtl.backbone(name, in_channels=channels).eval()
    with torch.no_grad():
        assert backbone(torch.zeros(1, channels, 224, 224)).shape == (1, backbone.out_features)


def test_the_articles_cnn() -> None:
    """3x3 convolutions of 32 and 64 channels with pooling, then 120-84: 28x28 leaves 64 x 7 x 7."""
    model = mtl.MultiTaskModel(mtl.backbone("cnn", image_size=28), [mtl.Classification("digit", classes=10)])
    shapes = [tuple(p.shape) for p in model.parameters() if p.dim() > 1]
    assert shapes == [(32, 1, 3, 3), (64, 32, 3, 3), (120, 3136), (84, 120), (10, 84)]
