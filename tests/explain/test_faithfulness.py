"""Metrics that perturb the input: by hand, in closed form, and against slow references."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
import torch
from scipy.sparse.linalg import spsolve
from torch import Tensor, nn

import explain
from explain.batching import generator as stream
from explain.batching import noise_like
from explain.metrics.correlation import STREAM, pearson, ranks
from explain.metrics.imputation import imputed
from explain.metrics.road import STREAM as ROAD_STREAM
from tests.explain.models import Heads, Linear, heads

FEW: dict[str, dict[str, object]] = {
    "deletion": {"steps": 6},
    "insertion": {"steps": 6},
    "pixel_flipping": {"steps": 6},
    "sensitivity_n": {"samples": 6},
    "infidelity": {"samples": 6},
    "monotonicity": {"groups": 6},
    "road": {"fractions": (0.3, 0.6)},
    "completeness": {},
}
PERTURBING = [name for name, metric in explain.METRICS.items() if metric.kind == "model"]


class Sum(nn.Module):
    """One value an example: 4 a + 3 b + 2 c + d."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.tensor([4.0, 3.0, 2.0, 1.0]).to(x)


def values(frame: object, metric: str, task: str, kind: str = "given") -> np.ndarray:
    rows = frame[(frame["metric"] == metric) & (frame["task"] == task) & (frame["map"] == kind)]
    return rows["value"].to_numpy()


def one(model: nn.Module, inputs: Tensor, maps: Tensor, metric: str, **options: object) -> np.ndarray:
    frame = explain.evaluate(model, inputs, maps, metrics=metric, options={metric: options}, controls=())
    return frame["value"].to_numpy()


def test_curves_by_hand() -> None:
    """The score falls over 10, 6, 3, 1, 0 in the right order, and over 10, 9, 7, 4, 0 in the wrong one."""
    x, right = torch.ones(1, 4), torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    assert one(Sum(), x, right, "deletion") == pytest.approx((5 + 6 + 3 + 1) / 4)
    assert one(Sum(), x, right, "insertion") == pytest.approx((4 + 7 + 9 + 5) / 4)
    assert one(Sum(), x, right, "pixel_flipping") == pytest.approx(10 - 20 / 5)
    assert one(Sum(), x, -right, "deletion") == pytest.approx((5 + 9 + 7 + 4) / 4)
    assert one(Sum(), x, -right, "insertion") == pytest.approx((1 + 3 + 6 + 5) / 4)
    assert one(Sum(), x, -right, "pixel_flipping") == pytest.approx(10 - 30 / 5)
    assert one(Sum(), x, -right, "deletion", absolute=True) == pytest.approx((5 + 6 + 3 + 1) / 4)
    # two steps: 10, 3, 0
    assert one(Sum(), x, right, "deletion", steps=2) == pytest.approx((5 + 3) / 2)
    assert one(Sum(), x, right, "pixel_flipping", steps=2) == pytest.approx(10 - 13 / 3)


def test_curves_are_of_probabilities_where_there_are_classes() -> None:
    """Logits (3 a + b, 0): the probability of class 0 falls over s(4), s(1), s(0)."""
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 1.0], [0.0, 0.0]]))
    x, maps = torch.ones(1, 2), torch.tensor([[2.0, 1.0]])
    p = [1 / (1 + np.exp(-z)) for z in (4, 1, 0)]
    assert one(model, x, maps, "deletion") == pytest.approx((p[0] / 2 + p[1] + p[2] / 2) / 2, abs=1e-6)
    assert one(model, x, maps, "pixel_flipping") == pytest.approx(p[0] - sum(p) / 3, abs=1e-6)
    assert one(model, x, maps, "deletion", score="own") == pytest.approx((4 / 2 + 1 + 0) / 2)


@pytest.fixture
def linear() -> tuple[Linear, Tensor, dict[str, Tensor]]:
    """A linear model in float64, and how much each column gives to the score against a baseline of 1/2."""
    model, x = Linear().double(), torch.randn(5, 3, generator=torch.Generator().manual_seed(2)).double()
    slopes = explain.saliency(model, x)
    return model, x, {task: slope * (x - 0.5) for task, slope in slopes.items()}


def test_shares_of_a_linear_model_are_perfect(linear: tuple[Linear, Tensor, dict[str, Tensor]]) -> None:
    model, x, shares = linear
    options = {
        "infidelity": {"perturbation": "removal", "scaled": False},
        "sensitivity_n": {"fractions": (0.4, 0.7)},
    }
    names = ["sensitivity_n", "infidelity", "monotonicity", "completeness"]
    perfect = {"sensitivity_n": 1, "infidelity": 0, "monotonicity": 1, "completeness": 0}
    worst = {"sensitivity_n": -1, "infidelity": 4, "monotonicity": 1, "completeness": 2}
    for maps, expected in ((shares, perfect), ({t: -s for t, s in shares.items()}, worst)):
        frame = explain.evaluate(model, x, maps, metrics=names, options=options, baseline=0.5, controls=())
        for name, value in expected.items():
            for task in maps:
                assert values(frame, name, task) == pytest.approx(value, abs=1e-9), (name, task)


def test_slopes_of_a_linear_model_have_no_infidelity(
    linear: tuple[Linear, Tensor, dict[str, Tensor]],
) -> None:
    model, x, _ = linear
    slopes = explain.saliency(model, x)
    for options in ({}, {"scaled": False}, {"relative": False}, {"scaled": False, "relative": False}):
        frame = explain.evaluate(model, x, slopes, metrics="infidelity", options={"infidelity": options})
        assert abs(frame[frame["map"] == "given"]["value"]).max() < 1e-12
        assert frame[frame["map"] == "random"]["value"].min() > 1e-4
    doubled = {task: 2 * slope for task, slope in slopes.items()}
    assert one(model, x, doubled, "infidelity").max() < 1e-12
    assert one(model, x, doubled, "infidelity", scaled=False) == pytest.approx(1)
    assert one(model, x, {t: -s for t, s in slopes.items()}, "infidelity") == pytest.approx(1)


def test_completeness_is_a_gap_and_no_equality() -> None:
    """Elsewhere floats are compared with ==, which exact float32 maps fail."""
    model, x = heads(), torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    maps = explain.saliency(model, x, method="integrated_gradients", tolerance=1e-3)
    gap = one(model, x, maps, "completeness")
    assert gap.min() >= 0
    assert gap.max() < 0.1
    doubled = {task: 2 * m for task, m in maps.items()}
    assert one(model, x, doubled, "completeness") == pytest.approx(0.5, abs=0.1)
    assert one(model, x, {task: 0 * m for task, m in maps.items()}, "completeness") == pytest.approx(1)
    assert (
        one(Sum(), torch.zeros(1, 4), torch.zeros(1, 4), "completeness") == 0
    )  # nothing to explain, nothing said


class Slow:
    """Each metric once more, one example and one forward pass at a time, from the papers."""

    def __init__(self, model: Heads, images: Tensor, maps: dict[str, Tensor], seed: int) -> None:
        self.model, self.images, self.maps, self.seed = model.eval(), images, maps, seed
        with torch.no_grad():
            self.classes = {t: out.argmax(1).tolist() for t, out in model(images).items()}

    @torch.no_grad()
    def score(self, image: Tensor, example: int, task: str, probability: bool) -> float:
        output = self.model(image[None])[task][0]
        if probability and len(output) > 1:
            output = output.softmax(0)
        return float(output[self.classes[task][example]])

    def order(self, example: int, task: str) -> list[int]:
        relevance = self.maps[task][example].sum(0).flatten().tolist()
        return sorted(range(64), key=lambda i: -relevance[i])

    @staticmethod
    def moved(image: Tensor, other: Tensor, pixels: list[int]) -> Tensor:
        found = image.clone()
        for pixel in pixels:
            found[:, pixel // 8, pixel % 8] = other[:, pixel // 8, pixel % 8]
        return found

    def curve(self, example: int, task: str, start: Tensor, end: Tensor, steps: int) -> list[float]:
        order = self.order(example, task)
        return [
            self.score(self.moved(start, end, order[: 64 * step // steps]), example, task, True)
            for step in range(steps + 1)
        ]

    def deletion(self, example: int, task: str, steps: int) -> float:
        image = self.images[example]
        curve = self.curve(example, task, image, torch.zeros_like(image), steps)
        return float(np.trapezoid(curve, [64 * step // steps / 64 for step in range(steps + 1)]))

    def pixel_flipping(self, example: int, task: str, steps: int) -> float:
        image = self.images[example]
        curve = self.curve(example, task, image, torch.zeros_like(image), steps)
        return sum(curve[0] - value for value in curve) / (steps + 1)

    def insertion(self, example: int, task: str, steps: int) -> float:
        image = self.images[example]
        blurred = torch.zeros_like(image)
        for r in range(8):
            for c in range(8):
                weights = torch.tensor(
                    [
                        [np.exp(-((r - i) ** 2 + (c - j) ** 2) / 2 / (8 / 7) ** 2) for j in range(8)]
                        for i in range(8)
                    ]
                )
                blurred[:, r, c] = (image * weights).sum((1, 2)) / weights.sum()
        curve = self.curve(example, task, blurred, image, steps)
        return float(np.trapezoid(curve, [64 * step // steps / 64 for step in range(steps + 1)]))

    def sensitivity_n(self, example: int, task: str, fractions: tuple[float, ...], samples: int) -> float:
        image, relevance = self.images[example], self.maps[task][example].sum(0).flatten().double()
        found = []
        for number, fraction in enumerate(fractions):
            draws, told, change = stream(self.seed, example, STREAM + number), [], []
            for _ in range(samples):
                pixels = torch.rand(64, generator=draws).argsort()[: int(64 * fraction)].tolist()
                told.append(float(relevance[pixels].sum()))
                gone = self.moved(image, torch.zeros_like(image), pixels)
                change.append(
                    self.score(image, example, task, False) - self.score(gone, example, task, False)
                )
            found.append(scipy.stats.pearsonr(told, change).statistic)
        return float(np.mean(found))

    def infidelity(self, example: int, task: str, samples: int, scaled: bool, relative: bool) -> float:
        image, told, change = self.images[example], [], []
        draws = stream(self.seed, example, STREAM - 1)
        for _ in range(samples):
            step = 0.1 * (image.max() - image.min()) * torch.randn(image.shape, generator=draws)
            told.append(float((step.double() * self.maps[task][example].double()).sum()))
            moved = self.score(image - step, example, task, False)
            change.append(self.score(image, example, task, False) - moved)
        a, b = np.array(told), np.array(change)
        best = max(0.0, (a * b).sum() / (a * a).sum()) if scaled else 1.0
        return float(((best * a - b) ** 2).mean() / ((b * b).mean() if relative else 1))

    def monotonicity(self, example: int, task: str, groups: int) -> float:
        image, order = self.images[example], self.order(example, task)
        relevance = self.maps[task][example].sum(0).flatten().double()
        told, change = [], []
        for group in range(groups):
            pixels = [p for place, p in enumerate(order) if place * groups // 64 == group]
            told.append(abs(float(relevance[pixels].sum())))
            gone = self.moved(image, torch.zeros_like(image), pixels)
            change.append(
                abs(self.score(image, example, task, False) - self.score(gone, example, task, False))
            )
        return float(scipy.stats.spearmanr(told, change).statistic)

    def road(self, example: int, task: str, fractions: tuple[float, ...], order: str) -> float:
        image, most = self.images[example], self.order(example, task)
        noise = noise_like(self.images[:1], self.seed, example, ROAD_STREAM)[0]
        noise = 0.01 * (image.max() - image.min()) * noise
        drops = []
        for fraction in fractions:
            number = int(64 * fraction + 1e-9)
            scores = {}
            for kind, pixels in (("morf", most[:number]), ("lerf", most[64 - number :])):
                filled = slow_imputation(image, pixels)
                filled = self.moved(image, filled + noise, pixels)
                scores[kind] = self.score(filled, example, task, True)
            clean = self.score(image, example, task, True)
            parts = {"morf": clean - scores["morf"], "lerf": scores["lerf"] - clean}
            drops.append(parts["morf"] + parts["lerf"] if order == "both" else parts[order])
        return float(np.mean(drops))


def slow_imputation(image: Tensor, pixels: list[int]) -> Tensor:
    """The equations of Rong et al. one by one, solved by scipy."""
    height, width = image.shape[1:]
    number = {pixel: i for i, pixel in enumerate(pixels)}
    matrix = scipy.sparse.lil_matrix((len(pixels), len(pixels)))
    known = np.zeros((len(pixels), len(image)))
    for pixel, i in number.items():
        r, c = divmod(pixel, width)
        for dr in (-1, 0, 1):
            for dc in (-1, 0, 1):
                if (dr, dc) == (0, 0) or not (0 <= r + dr < height and 0 <= c + dc < width):
                    continue
                weight = 1 / 6 if 0 in (dr, dc) else 1 / 12
                matrix[i, i] += weight
                other = (r + dr) * width + c + dc
                if other in number:
                    matrix[i, number[other]] -= weight
                else:
                    known[i] += weight * image[:, r + dr, c + dc].double().numpy()
    solution = spsolve(matrix.tocsc(), known).reshape(len(pixels), len(image))
    filled = image.clone()
    for pixel, i in number.items():
        filled[:, pixel // width, pixel % width] = torch.as_tensor(solution[i]).to(image)
    return filled


@pytest.fixture
def slow(generator: torch.Generator) -> Slow:
    images = torch.randn(3, 2, 8, 8, generator=generator)
    model = heads().eval()
    return Slow(model, images, explain.saliency(model, images, method="input_x_gradient"), seed=5)


@pytest.mark.parametrize(
    ("metric", "options"),
    [
        ("deletion", {"steps": 9}),
        ("pixel_flipping", {"steps": 16}),
        ("insertion", {"steps": 9}),
        ("sensitivity_n", {"fractions": (0.2, 0.5), "samples": 7}),
        ("infidelity", {"samples": 6, "scaled": True, "relative": True}),
        ("infidelity", {"samples": 6, "scaled": False, "relative": False}),
        ("monotonicity", {"groups": 10}),
        ("road", {"fractions": (0.1, 0.5, 0.9), "order": "both"}),
        ("road", {"fractions": (0.3,), "order": "morf"}),
        ("road", {"fractions": (0.3,), "order": "lerf"}),
    ],
)
def test_against_a_slow_reference(slow: Slow, metric: str, options: dict) -> None:
    frame = explain.evaluate(
        slow.model, slow.images, slow.maps, metrics=metric, options={metric: options}, seed=slow.seed
    )
    for task in slow.maps:
        expected = [getattr(slow, metric)(example, task, **options) for example in range(3)]
        assert values(frame, metric, task) == pytest.approx(expected, rel=1e-3, abs=2e-5)


def test_imputation(generator: torch.Generator) -> None:
    images = torch.rand(4, 3, 7, 9, generator=generator).double()
    for share in (0.1, 0.6, 0.97):
        gone = torch.rand(4, 7, 9, generator=generator) < share
        gone[:, 3, 4] = False
        filled = imputed(images, gone)
        for image, mask, found in zip(images, gone, filled, strict=True):
            pixels = mask.flatten().nonzero()[:, 0].tolist()
            assert torch.allclose(found, slow_imputation(image, pixels), atol=1e-10)
    alone = torch.cat([imputed(images[b : b + 1], gone[b : b + 1]) for b in range(4)])
    assert torch.allclose(filled, alone, atol=1e-12)
    assert torch.equal(imputed(images, torch.zeros(4, 7, 9, dtype=torch.bool)), images)
    flat = torch.full((1, 1, 5, 5), 3.0)
    gone = torch.ones(1, 5, 5, dtype=torch.bool)
    gone[0, 0, 0] = False
    assert torch.allclose(imputed(flat, gone), flat)
    with pytest.raises(ValueError, match="no pixel left"):
        imputed(flat, torch.ones(1, 5, 5, dtype=torch.bool))


def test_correlations_equal_scipys(generator: torch.Generator) -> None:
    a, b = (torch.randint(0, 4, (6, 9), generator=generator).double() for _ in range(2))
    for i in range(6):
        assert pearson(a, b, dim=1)[i].item() == pytest.approx(scipy.stats.pearsonr(a[i], b[i]).statistic)
        assert ranks(a)[i].tolist() == (scipy.stats.rankdata(a[i]) - 1).tolist()
    assert pearson(torch.full((1, 3), 0.1).double(), b[:1, :3], dim=1).isnan().all()


@pytest.mark.parametrize("metric", PERTURBING)
@pytest.mark.parametrize("size", [1, 2, 64])
def test_numbers_do_not_depend_on_batches_or_other_examples(slow: Slow, metric: str, size: int) -> None:
    def scores(n: int, size: int | None) -> np.ndarray:
        maps = {task: m[:n] for task, m in slow.maps.items()}
        frame = explain.evaluate(
            slow.model,
            slow.images[:n],
            maps,
            metrics=metric,
            options={metric: FEW[metric]},
            batch_size=size,
            seed=1,
        )
        return frame[frame["example"] < 2].sort_values(["task", "map", "example"])["value"].to_numpy()

    assert scores(3, size) == pytest.approx(scores(3, None), rel=1e-5, abs=1e-6)
    assert scores(2, size) == pytest.approx(scores(3, None), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("metric", PERTURBING)
def test_values_lie_in_the_declared_range_and_tell_a_map_from_a_random_one(metric: str) -> None:
    """Six blobs, of which the first two alone decide; the map names them, and points where the score rises."""

    class Blobs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            means = torch.nn.functional.avg_pool2d(x, 4).flatten(1)
            return torch.stack([3 * means[:, 0] + 2 * means[:, 1], 0 * means[:, 0]], dim=1)

    x = 0.5 + torch.rand(12, 1, 8, 12, generator=torch.Generator().manual_seed(0))
    maps = explain.saliency(
        Blobs(), x, method="gradient" if metric == "infidelity" else "input_x_gradient", target=0
    )
    frame = explain.evaluate(Blobs(), x, maps, metrics=metric, target=0, seed=1)
    low, high = explain.METRICS[metric].range
    assert frame["value"].between(low, high).all()
    assert set(frame["region"]) == {""}
    means = frame.groupby("map")["value"].mean()
    better = explain.METRICS[metric].higher_is_better
    assert (frame["higher_is_better"] == better).all()
    assert (means["given"] > means["random"]) == better


def counted(model: nn.Module, call: Callable[[], object]) -> int:
    """How many examples go through the model."""
    seen: list[int] = []
    handle = model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    call()
    handle.remove()
    return sum(seen)


def test_all_tasks_maps_and_controls_share_forward_passes(slow: Slow) -> None:
    def run(metrics: list[str], controls: tuple[str, ...], **options: dict) -> int:
        return counted(
            slow.model,
            lambda: explain.evaluate(
                slow.model, slow.images, slow.maps, metrics=metrics, controls=controls, options=options
            ),
        )

    clean = 3
    for controls in ((), ("random", "image", "edges")):
        sets = {"sensitivity_n": {"samples": 5, "fractions": (0.2, 0.4)}}
        assert run(["sensitivity_n"], controls, **sets) == clean + 3 * 10
        assert run(["infidelity"], controls, infidelity={"samples": 5}) == clean + 3 * 5
        assert run(["completeness"], controls) == clean + 3
        distinct = 3 + len(controls)  # a control is the same map for all tasks
        curves = {"deletion": {"steps": 8}, "pixel_flipping": {"steps": 8}}
        expected = clean + 3 + 3 + distinct * 3 * 7  # clean, clean probabilities, baseline, and the way
        assert run(["deletion"], controls, deletion={"steps": 8}) == expected
        assert run(["deletion", "pixel_flipping"], controls, **curves) == expected
        assert run(["insertion"], controls, insertion={"steps": 8}) == expected
        assert run(["monotonicity"], controls, monotonicity={"groups": 8}) == clean + distinct * 3 * 8
        assert run(["road"], controls, road={"fractions": (0.2, 0.4)}) == clean + 3 + distinct * 3 * 2 * 2


def test_steps_that_change_nothing_cost_nothing(slow: Slow) -> None:
    """In the lower half the image is black already."""
    images, flat = slow.images.clone(), torch.arange(64.0, 0, -1).reshape(1, 1, 8, 8).expand(3, 2, 8, 8)
    images[:, :, 4:] = 0
    maps = {"a": flat}

    def run() -> object:
        return explain.evaluate(
            slow.model, images, maps, metrics=["deletion", "monotonicity"], controls=(),
            options={"deletion": {"steps": 8}, "monotonicity": {"groups": 8}},
        )  # fmt: skip

    assert counted(slow.model, run) == 3 * (
        1 + 1 + 1 + 3 + 4
    )  # clean, as probabilities, black; 3 of 7 steps, 4 of 8


def test_a_constant_map_is_a_random_order() -> None:
    """In the order of the pixels it would look best of all; every example has an order of its own."""

    class Falling(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.flatten(1) * torch.arange(64.0, 0, -1)).sum(1) / 2080

    x = torch.ones(100, 1, 8, 8)
    few = {name: FEW[name] for name in ("deletion", "road")}
    frame = explain.evaluate(Falling(), x, torch.zeros_like(x), metrics=list(few), options=few)
    given, random = (values(frame, "deletion", "output", kind) for kind in ("given", "random"))
    assert abs(given.mean() - 0.5) < 4 * given.std() / 10
    assert given.std() == pytest.approx(random.std(), rel=0.3)
    assert abs(given.max() - given.min()) > 0.05
    assert np.abs(values(frame, "road", "output")).max() == 0  # both orders are the same one


def test_what_is_not_defined_is_nan() -> None:
    x = torch.rand(3, 6, generator=torch.Generator().manual_seed(0))
    model = nn.Linear(6, 1)
    names = ["sensitivity_n", "infidelity", "monotonicity"]
    frame = explain.evaluate(model, x, torch.zeros_like(x), metrics=names)
    assert np.isnan(values(frame, "sensitivity_n", "output")).all()
    assert values(frame, "infidelity", "output") == pytest.approx(1)  # it foretells nothing
    assert np.isnan(values(frame, "monotonicity", "output")).all()
    with torch.no_grad():
        model.weight.zero_()  # a model that looks at nothing
    frame = explain.evaluate(model, x, x, metrics=[*names, "completeness", "deletion"])
    for name in names:
        assert np.isnan(values(frame, name, "output")).all()
    assert values(frame, "completeness", "output") == pytest.approx(1)
    assert values(frame, "deletion", "output") == pytest.approx(model.bias.item())
