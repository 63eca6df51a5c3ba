"""Which layers a task's score depends on, in which order they become random, and how."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from explain.metrics.cascade import ROOT, duplicate, paths, randomise, steps
from tests.explain.models import heads


def found(model: nn.Module, x: Tensor) -> dict[str, list[str]]:
    model.eval()
    inputs = x.clone().requires_grad_()
    outputs = model(inputs)
    return paths(model, inputs, outputs if isinstance(outputs, dict) else {"output": outputs})


def test_a_tasks_path_leaves_out_the_other_heads(generator: torch.Generator) -> None:
    trunk = ["trunk.4", "trunk.1", "trunk.0"]
    assert found(heads(), torch.randn(2, 2, 8, 8, generator=generator)) == {
        "a": ["heads.0", *trunk],
        "b": ["heads.1", *trunk],
        "c": ["heads.2", *trunk],
    }


class Odd(nn.Module):
    """Parameters without a call of their module, of the model itself, of a reused, a branching and an idle module."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(4, 4)
        self.last = nn.Linear(4, 2)
        self.branch = nn.Linear(4, 4)
        self.twice = nn.Linear(4, 4)
        self.first = nn.Linear(4, 4)
        self.offset = nn.Parameter(torch.randn(4))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.first.weight, self.first.bias) + self.offset
        x = self.twice(x).relu()
        x = self.attention(x[:, None], x[:, None], x[:, None])[0][:, 0]
        x = self.twice(x).relu()
        return self.last(x + self.branch(x))


def test_odd_uses_of_parameters(generator: torch.Generator) -> None:
    """`twice` counts where its last use is; attention's out_proj is never called as a module."""
    names = found(Odd(), torch.randn(3, 4, generator=generator))["output"]
    assert names == ["last", "branch", "twice", "attention.out_proj", "attention", ROOT, "first"]


def test_weights_that_are_computed_first_count_where_they_are_used(generator: torch.Generator) -> None:
    norm, weight = nn.utils.parametrizations.spectral_norm, nn.utils.parametrizations.weight_norm
    model = nn.Sequential(
        nn.Linear(3, 3), norm(nn.Linear(3, 3)), nn.ReLU(), weight(nn.Linear(3, 3)), nn.Linear(3, 1)
    )
    names = found(model, torch.randn(2, 3, generator=generator))["output"]
    assert [name.split(".")[0] for name in names] == ["4", "3", "3", "1", "1", "0"]


def test_tied_parameters_belong_to_one_module(generator: torch.Generator) -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3), nn.Linear(3, 3, bias=False))
    model[2].weight = model[0].weight
    assert found(model, torch.randn(2, 3, generator=generator))["output"] == ["0", "1"]


def test_scores_without_parameters_or_without_a_way_from_the_inputs(generator: torch.Generator) -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)
            self.last = nn.Linear(3, 1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"cut": self.last(self.linear(x.detach())), "plain": x.sum(1), "gone": x.detach().sum(1)}

    names = found(Cut(), torch.randn(2, 3, generator=generator))
    assert names == {"cut": ["last", "linear"], "plain": [], "gone": []}


def test_steps_keep_every_tasks_order() -> None:
    """Heads of different depth, and a layer that only two of three tasks share."""
    own = {
        "a": ["a2", "a1", "pair", "t2", "t1"],
        "b": ["b1", "pair", "t2", "t1"],
        "c": ["c3", "c2", "c1", "t2", "t1"],
    }
    for names in (own, {task: path[::-1] for task, path in own.items()}):
        for at_most in (1, 2, 3, 10):
            groups = steps(names, at_most)
            assert len(groups) <= at_most
            place = {name: number for number, group in enumerate(groups) for name in group}
            assert sorted(place) == sorted({name for path in names.values() for name in path})
            for path in names.values():
                for one, other in itertools.pairwise(path):
                    assert place[one] < place[other] or (place[one] == place[other] and at_most < 5)
    assert steps(own, 10) == [["a2", "b1", "c3"], ["a1", "c2"], ["pair", "c1"], ["t2"], ["t1"]]
    assert steps(own, 3) == [
        ["a2", "b1", "c3"],
        ["a1", "c2", "pair", "c1"],
        ["t2", "t1"],
    ]  # the heads stay alone


def test_randomise_changes_what_it_should_and_nothing_else(generator: torch.Generator) -> None:
    model = heads()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    randomise(model, ["trunk.1", "heads.1"], seed=0)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"trunk.1.running_mean", "trunk.1.running_var", "trunk.1.num_batches_tracked",
                       "heads.1.weight", "heads.1.bias"}  # fmt: skip  # batch norm's scale was never trained
    assert torch.equal(torch.get_rng_state(), state)


def test_random_weights_depend_on_seed_draw_and_name_alone() -> None:
    def weight(names: list[str], seed: int = 0, draw: int = 0, *, last: bool = False) -> Tensor:
        model = heads()
        if last:
            model = model.to(memory_format=torch.channels_last)
        model = duplicate(model)
        randomise(model, names, seed, draw)
        return model.trunk[4].weight.detach()

    one = weight(["trunk.4"])
    assert torch.equal(weight(["heads.0", "trunk.0", "trunk.4"]), one)
    assert torch.equal(weight(["trunk.4"], last=True), one)  # whatever the memory's layout
    assert not torch.equal(weight(["trunk.4"], seed=1), one)
    assert not torch.equal(weight(["trunk.4"], draw=1), one)
    assert (
        abs(float(one.std()) / float(heads().trunk[4].weight.detach().std()) - 1) < 0.2
    )  # as it was initialised


def test_modules_without_a_reset_keep_their_scale() -> None:
    """A parametrised weight (whose reset does nothing), attention, parameters of the model itself, a composite."""
    linear = nn.utils.parametrizations.weight_norm(nn.Linear(30, 30))
    model = nn.ModuleDict({"norm": linear, "attention": nn.MultiheadAttention(32, 2)})
    model.register_parameter("token", nn.Parameter(torch.full((500,), 3.0)))
    model.norm.bias.data.normal_()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    randomise(
        model, ["norm", "norm.parametrizations.weight", "attention", "attention.out_proj", ROOT], seed=0
    )
    for name, old in before.items():
        if float(old.abs().max()) > 0:  # attention's fresh biases are zero
            new = dict(model.named_parameters())[name].detach()
            assert not torch.equal(new, old), name
            assert (
                0.5 < float(new.square().mean().sqrt() / old.square().mean().sqrt()) < 2
                or name == "norm.bias"
            ), name
    assert abs(float(model.token.detach().mean())) < 1  # a constant becomes noise


def test_a_copy_takes_gradients_and_leaves_the_model_alone() -> None:
    model = heads()
    model.trunk[0].weight.requires_grad_(False)
    twin = duplicate(model)
    assert all(p.requires_grad for p in twin.parameters())
    assert not model.trunk[0].weight.requires_grad
    randomise(twin, ["trunk.0"], seed=0)
    assert not torch.equal(twin.trunk[0].weight, model.trunk[0].weight)


def test_a_model_that_cannot_be_copied_is_named() -> None:
    model = nn.Linear(2, 2)
    model.cache = (x for x in ())  # a generator
    with pytest.raises(
        ValueError, match=r"Linear cannot be copied by copy\.deepcopy: cannot pickle 'generator'"
    ):
        duplicate(model)
