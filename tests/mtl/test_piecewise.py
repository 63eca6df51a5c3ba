"""The piecewise linear encoding: against the paper's formula, numpy and scikit-learn, and as a part of a model."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from sklearn.preprocessing import KBinsDiscretizer

import explain
import mtl
from mtl.data.columns import joined, ranked
from mtl.piecewise import PiecewiseLinear, quantile_edges


def slow(x: float, edges: list[float]) -> list[float]:
    """Gorishniy et al. 2022, equation 1, with T = len(edges) - 1."""
    T, found = len(edges) - 1, []
    for t in range(1, T + 1):
        if x < edges[t - 1] and t > 1:
            found.append(0.0)
        elif x >= edges[t] and t < T:
            found.append(1.0)
        else:
            found.append((x - edges[t - 1]) / (edges[t] - edges[t - 1]))
    return found


def draw(rows: int = 200) -> torch.Tensor:
    """Columns as tables have them: skewed, of few values, 0/1, nearly always 0, constant."""
    d = np.random.default_rng(0)
    rare = np.where(d.random(rows) < 0.1, d.lognormal(8, 2, rows), 0)
    columns = [d.normal(size=rows), d.integers(0, 5, rows), d.integers(0, 2, rows), rare, np.full(rows, 3.0)]
    return torch.from_numpy(np.stack(columns, axis=1)).float()


def test_every_number_is_the_papers() -> None:
    inputs = draw()
    edges = quantile_edges(inputs, pieces=6)
    wide = torch.cat([inputs, inputs - 50, inputs * 3])  # outside the edges too
    expected = [[y for x, own in zip(row, edges, strict=True) for y in slow(x, own)] for row in wide.tolist()]
    torch.testing.assert_close(PiecewiseLinear(edges)(wide), torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_ranks_are_scipys() -> None:
    values = draw()[:, 3].double().numpy()
    train = torch.arange(0, 200, 2)
    found = ranked("rare", np.append(values, np.nan), train)
    dense = rankdata(values[::2], method="dense").astype(float)
    np.testing.assert_allclose(found["rare"][:200:2], (dense - dense.mean()) / dense.std(), atol=1e-9)
    assert found["rare"][200] == 0
    assert list(found) == ["rare"]  # no training row has a gap
    assert found["rare"].max() == pytest.approx(found["rare"][:200:2].max())  # beyond all: at the end


def test_the_pieces_of_a_column_add_up_to_numpys_interpolation() -> None:
    inputs = draw()[:, 3:4]
    (edges,) = quantile_edges(inputs, pieces=8)
    found = PiecewiseLinear([edges])(inputs).sum(dim=1)
    expected = np.interp(inputs[:, 0].double(), edges, np.arange(len(edges)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_edges_are_the_quantiles_of_the_different_values() -> None:
    inputs = draw()
    for k in (0, 3):  # more values than pieces
        values = np.unique(inputs[:, k].double().numpy())[:, None]
        binner = KBinsDiscretizer(10, strategy="quantile", encode="ordinal", quantile_method="linear")
        expected = binner.fit(values).bin_edges_[0]
        np.testing.assert_allclose(quantile_edges(inputs, pieces=10)[k], expected, rtol=1e-6)


def test_columns_of_few_values_have_an_edge_at_each() -> None:
    edges = quantile_edges(draw(), pieces=10)
    assert edges[1:3] == [[0, 1, 2, 3, 4], [0, 1]]
    assert edges[4] == [3, 4]
    close = torch.tensor([[1.0], [1.0 + 2**-23], [1.0 + 2**-22]])  # float32's neighbours
    assert len(PiecewiseLinear(quantile_edges(close, pieces=2))(close)[0]) == 2


def test_a_threshold_is_learned_that_a_plain_network_misses() -> None:
    """Rows of two groups lie ten thousandths of the column's spread apart: a linear model cannot, pieces can."""
    d = torch.Generator().manual_seed(0)
    x = torch.cat([torch.rand(400, 1, generator=d), torch.full((4, 1), 1e4)])
    y = (x[:, 0] > 0.5).long()
    data, tasks = mtl.TaskData(x / 1e4, {"y": y}), [mtl.Classification("y", classes=2)]
    accuracy = {}
    for name, edges in (("plain", None), ("pieces", quantile_edges(data.inputs))):
        with mtl.seeded(0):
            model = mtl.MultiTaskModel(mtl.backbone("mlp", in_features=1, hidden=(16,), edges=edges), tasks)
        mtl.fit(model, data, steps=100, lr=1e-2, dynamics_every=None, progress=False)
        accuracy[name] = mtl.evaluate(model, data)["y"]["accuracy"]
    assert accuracy["pieces"] > 0.95
    assert accuracy["plain"] < 0.8


def test_attributions_are_the_columns_own() -> None:
    rows = torch.arange(200)
    columns = [ranked(f"{k}", column, rows) for k, column in enumerate(draw().double().numpy().T)]
    inputs, _ = joined(columns)
    tasks = [mtl.Classification("y", classes=3), mtl.Regression("z")]
    with mtl.seeded(0):
        backbone = mtl.backbone("mlp", in_features=5, edges=quantile_edges(inputs))
    model = mtl.MultiTaskModel(backbone, tasks).eval()
    for method, how in (("integrated_gradients", {"tolerance": 0.05}), ("deeplift", {}), ("lrp", {})):
        for maps in explain.saliency(model, inputs[:8], method=method, **how).values():
            assert maps.shape == (8, 5)
            assert bool(maps.isfinite().all())


def test_edges_are_kept_with_the_weights() -> None:
    inputs = draw()
    models = [PiecewiseLinear(quantile_edges(x, pieces=4)) for x in (inputs, inputs * 2)]
    models[1].load_state_dict(models[0].state_dict())
    assert torch.equal(models[0](inputs), models[1](inputs))


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([], "needs the edges of one column"),
        (
            [[0.0, 1.0], [0.0]],
            "column 1 must be two or more finite numbers, each above the one before, got 1",
        ),
        ([[0.0, 0.0, 1.0]], "column 0 must be"),
        ([[0.0, float("inf")]], "column 0 must be"),
        ([[0.0, float("nan")]], "column 0 must be"),
    ],
)
def test_edges_that_cannot_be(edges: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PiecewiseLinear(edges)


def test_mistakes() -> None:
    with pytest.raises(ValueError, match=r"pieces must be >= 1, got 0"):
        quantile_edges(draw(), pieces=0)
    with pytest.raises(ValueError, match=r"inputs must be \[N, F\] with N >= 1, got \[0, 2\]"):
        quantile_edges(torch.zeros(0, 2))
    with pytest.raises(ValueError, match=r"built for inputs \[B, 1\], got \[2, 3\]"):
        PiecewiseLinear([[0.0, 1.0]])(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"edges of 1 columns, in_features is 2"):
        mtl.backbone("mlp", in_features=2, edges=[[0.0, 1.0]])
