"""Figures: what is drawn, on which scale, and that the figure says so."""

import re
from collections.abc import Iterator

import matplotlib
import matplotlib.figure
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from torch import Tensor

import explain
from explain.pictures.images import how_many
from explain.pictures.style import fitted

HOSTILE = "$b_{<& \\frac 100%"


def maps(*values: float, shape: tuple[int, ...] = (3, 1, 6, 6)) -> dict[str, Tensor]:
    return {f"task {i}": torch.full(shape, value) for i, value in enumerate(values)}


def drawn(figure: Figure) -> list[Axes]:
    return [
        axes
        for axes in figure.axes
        if axes.images and axes.get_visible() and axes.get_label() != "<colorbar>"
    ]


def limits(figure: Figure) -> list[tuple[float, float]]:
    """Of the maps, without the input's 0..1."""
    return [axes.images[-1].get_clim() for axes in drawn(figure) if axes.images[-1].get_clim() != (0.0, 1.0)]


def texts(figure: Figure) -> str:
    FigureCanvasAgg(figure).draw()
    return " ".join(" ".join(text.get_text() for text in figure.findobj(Text) if text.get_visible()).split())


def overlapping(figure: Figure) -> Iterator[tuple[str, str]]:
    """Pairs of texts that lie on each other."""
    FigureCanvasAgg(figure).draw()
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in figure.findobj(Text)
        if text.get_text().strip() and text.get_visible() and (text.axes is None or text.axes.get_visible())
    ]
    for i, (one, a) in enumerate(boxes):
        for other, b in boxes[i + 1 :]:
            wide = min(a.x1, b.x1) - max(a.x0, b.x0)
            tall = min(a.y1, b.y1) - max(a.y0, b.y0)
            if wide > 1 and tall > 1:
                yield one, other


# ---- images


def test_every_map_of_an_image_is_on_one_scale() -> None:
    images = torch.rand(3, 1, 6, 6)
    given = {"a": torch.full((3, 1, 6, 6), 2.0), HOSTILE: torch.full((3, 1, 6, 6), -1.0)}
    masks = {"a": torch.zeros(3, 6, 6, dtype=torch.bool)}
    masks["a"][0, 2:4, 2:4] = True
    masks["a"][1] = True
    figure = explain.show(images, given, masks=masks, titles=["one", "two", "$three"])
    assert isinstance(figure, matplotlib.figure.Figure)
    assert len(drawn(figure)) == 3 * 3
    assert limits(figure) == [(-2.0, 2.0)] * 6
    said = texts(figure)
    for expected in (
        "Red speaks for, blue against; the tasks of an example share a colour scale",
        "−2",
        "$three",
        "Outlined",
    ):
        assert expected in said
    assert HOSTILE.split("\\")[0].strip() in said
    outlined = [bool(axes.collections) for axes in drawn(figure)]
    assert sum(outlined) == 2  # an empty mask has no outline


def test_channels_are_summed() -> None:
    given = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    figure = explain.show(torch.rand(1, 3, 4, 5), given)
    np.testing.assert_allclose(drawn(figure)[1].images[0].get_array(), given[0].sum(0), rtol=1e-6)


@pytest.mark.parametrize(
    ("scale", "expected", "words"),
    [
        ("row", [2, 2, 20, 20, 4, 4, 40, 40], "tasks of an example share"),
        ("own", [1, 2, 10, 20, 2, 4, 20, 40], "each map has a colour scale of its own"),
        ("all", [4, 4, 40, 40, 4, 4, 40, 40], "all examples and tasks of a method share"),
    ],
)
def test_the_scale_is_as_asked_and_stated(scale: str, expected: list[float], words: str) -> None:
    """Two images, the second with twice the values; two methods, the second ten times as large."""
    one = {
        task: value * torch.tensor([1.0, 2.0]).reshape(2, 1, 1)
        for task, value in maps(1, 2, shape=(2, 4, 4)).items()
    }
    figure = explain.show(
        torch.rand(2, 4, 4), {"m": one, "n": {task: -10 * value for task, value in one.items()}}, scale=scale
    )
    assert [high for _, high in limits(figure)] == expected
    assert all(low == -high for low, high in limits(figure))
    assert words in texts(figure)


def test_methods_go_across_where_they_are_more() -> None:
    given = {f"method {i}": maps(1, 2, shape=(2, 4, 4)) for i in range(3)}
    figure = explain.show(torch.rand(2, 4, 4), given)
    assert len(limits(figure)) == 2 * 2 * 3
    top = [axes.get_title() for axes in drawn(figure) if axes.get_title()]
    assert top == ["input", "method 0", "method 1", "method 2"] or top[1:] == ["input"]
    assert texts(figure).count("±2") == 2 * 3  # below each pair of tasks
    assert len(drawn(explain.show(torch.rand(2, 4, 4), dict(list(given.items())[:2])))) == 2 + 2 * 2 * 2


def test_a_method_without_a_task_leaves_its_place_empty() -> None:
    given = {"m": maps(1, 2, shape=(1, 4, 4)), "n": maps(1, shape=(1, 4, 4))}
    assert len(limits(explain.show(torch.rand(1, 4, 4), given))) == 3


def test_maps_over_the_image() -> None:
    given = {"a": torch.tensor([[[4.0, -1.0], [0.0, 1.0]]])}
    figure = explain.show(torch.rand(1, 2, 2), given, overlay=0.8)
    under, over = drawn(figure)[1].images
    assert under.get_clim() == (0, 1)
    np.testing.assert_allclose(over.get_alpha(), [[0.8, 0.4], [0, 0.4]])
    assert "over the grey image" in texts(figure)


def test_outliers_are_clipped_and_stated() -> None:
    given = torch.ones(1, 10, 10)
    given[0, 0, 0] = 1000
    figure = explain.show(torch.rand(1, 10, 10), {"a": given, "b": given}, percentile=95)
    assert limits(figure) == [(-1, 1)] * 2
    assert "95th percentile" in texts(figure)
    sparse = torch.zeros(1, 10, 10)
    sparse[0, 0, 0] = 3.0  # whose percentile is zero
    assert limits(explain.show(torch.rand(1, 10, 10), sparse, percentile=95)) == [(-3, 3)]


def test_maps_of_zeros_and_grey_levels_that_do_not_vary() -> None:
    figure = explain.show(torch.ones(1, 1, 4, 4), maps(0, 0, shape=(1, 1, 4, 4)))
    assert limits(figure) == [(-1, 1)] * 2
    assert "1" not in texts(figure).replace("task 1", "")  # no scale where there is nothing to scale


def test_pairs_of_tasks_pull() -> None:
    figure = explain.show(torch.rand(1, 4, 4), {("a", "b"): torch.randn(1, 4, 4)})
    assert "a × b" in texts(figure)
    assert "pull together" in texts(figure)
    assert "mine" in texts(explain.show(torch.rand(1, 4, 4), torch.randn(1, 4, 4), meaning="mine"))


@pytest.mark.parametrize(("methods", "tasks"), [(1, 1), (1, 10), (4, 6), (6, 2), (3, 1)])
def test_no_text_lies_on_another(methods: int, tasks: int) -> None:
    generator = torch.Generator().manual_seed(0)
    given = {
        name: {
            f"a task with a long name {t}": torch.randn(2, 8, 8, generator=generator) * 1e-7
            for t in range(tasks)
        }
        for name in ["integrated_gradients", "guided_grad_cam", "occlusion", "d", "e", "f"][:methods]
    }
    figure = explain.show(torch.rand(2, 8, 8), given, titles=["an image with a long title", "b"], limit=1)
    assert list(overlapping(figure)) == []
    assert figure.get_figwidth() <= 15


def test_examples_are_limited_to_what_can_be_read() -> None:
    x = torch.rand(30, 4, 4)
    assert len(limits(explain.show(x, x))) == 8
    assert len(limits(explain.show(x, x, limit=1))) == 1
    assert [how_many(30, methods, None) for methods in (1, 2, 5, 20)] == [8, 6, 2, 1]


def test_nothing_global_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In any style of the notebook the figure is dark on white."""
    with matplotlib.rc_context():
        plt.style.use("dark_background")
        matplotlib.rcParams["image.origin"] = "lower"
        matplotlib.rcParams["axes.grid"] = True
        before = dict(matplotlib.rcParams)
        figures = plt.get_fignums()
        figure = explain.show(torch.rand(1, 4, 4), torch.rand(1, 4, 4), titles=["t"])
        assert dict(matplotlib.rcParams) == before
        assert plt.get_fignums() == figures
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert drawn(figure)[0].images[0].origin == "upper"
    assert drawn(figure)[0].yaxis.label.get_color() == "#222222"


def test_a_notebook_shows_it_without_pyplot() -> None:
    assert explain.show(torch.rand(1, 4, 4), torch.rand(1, 4, 4))._repr_png_().startswith(b"\x89PNG")


# ---- tables


def test_a_table_has_a_bar_a_feature() -> None:
    table = torch.arange(10.0).reshape(2, 5)
    given = {"a": torch.tensor([[1.0, -2.0, 0.0, 3.0, 4.0]] * 2), HOSTILE: -torch.ones(2, 5)}
    figure = explain.show(table, given, names=["age", "$x_1$", "c", "d", "e"], titles=["ann", "bob"])
    panels = figure.axes
    assert len(panels) == 4
    widths = [bar.get_width() for bar in panels[0].patches if isinstance(bar, Rectangle)]
    assert widths == [1, -2, 0, 3, 4]
    assert panels[0].get_xlim() == panels[1].get_xlim() == (-4.2, 4.2)
    red, blue = (np.array(bar.get_facecolor()) for bar in (panels[0].patches[0], panels[0].patches[1]))
    assert red[0] > blue[0]
    assert blue[2] > red[2]
    said = texts(figure)
    for expected in ("age = 0", "$x_1$ = 6", "ann", "share a scale"):
        assert expected in said
    assert list(overlapping(figure)) == []


def test_a_wide_table_shows_the_largest_and_says_so() -> None:
    values = torch.zeros(1, 40)
    values[0, [3, 33]] = torch.tensor([5.0, -7.0])
    figure = explain.show(torch.rand(1, 40), values)
    said = texts(figure)
    assert "The 12 largest of 40 features" in said
    assert "feature 33" in said
    assert "feature 39" not in said


# ---- words


def test_words_have_the_colour_of_their_value() -> None:
    words = [["is", "it", "$red$", "?"], ["a\nb"]]
    values = torch.zeros(2, 5, 3)
    values[0, :3] = torch.tensor([[1.0, 1, 0], [-4.0, 0, 0], [0, 0, 0]])
    values[1, 1:] = 1000.0  # padding
    values[1, 0] = 1.0
    figure = explain.show(words, {"answer": values})
    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert len(boxes) == 5
    cmap = matplotlib.colormaps["RdBu_r"]
    for box, place in zip(boxes, [0.75, 0.0, 0.5, 0.5, 1.0], strict=True):
        assert box.get_facecolor() == pytest.approx(cmap(place))
    said = texts(figure)
    for expected in ("$red$", "a⏎b", "±4", "±3", "answer", "example 1"):
        assert expected in said


def test_long_texts_take_several_lines_within_the_figure() -> None:
    words = [["word"] * 60 + ["w" * 500]]
    figure = explain.show(words, {"m": {"a": torch.randn(1, 61), "b": torch.randn(1, 61)}}, titles=["long"])
    assert list(overlapping(figure)) == []
    width, height = figure.get_size_inches()
    for box in figure.axes[0].patches:
        assert box.get_x() >= 0
        assert box.get_x() + box.get_width() <= width
        assert box.get_y() + box.get_height() <= height


# ---- matrices


def test_the_overlap_matrix_is_symmetric_and_has_its_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    frame = explain.overlap({task: torch.randn(4, 6, 6, generator=generator) for task in ("a", "b", HOSTILE)})
    figure = explain.show_matrix(frame)
    panels = drawn(figure)
    assert [axes.get_title() for axes in panels] == ["cosine", "rank_correlation", "top_iou", "shared_mass"]
    for axes, (measure, part) in zip(panels, frame.groupby("measure", sort=False), strict=True):
        values = axes.images[0].get_array()
        assert values.mask.diagonal().all()
        np.testing.assert_allclose(values, values.T)
        assert values[0, 1] == pytest.approx(part["value"].iloc[0])
        assert axes.images[0].get_clim() == ((-1, 1) if measure in ("cosine", "rank_correlation") else (0, 1))
    assert "In brackets: the mean of the null distribution" in texts(figure)
    assert list(overlapping(figure)) == []


def test_matrices_of_conflict_cross_deletion_and_sharing() -> None:
    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = torch.nn.Linear(4, 3, bias=False)
            with torch.no_grad():
                self.mix.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = self.mix(x)
            return {"a": y[:, 0] + y[:, 1], "b": y[:, 1] - y[:, 2]}

    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    found = explain.conflict(Two(), x, {"a": [9.0] * 5, "b": [9.0] * 5})
    cosine, part = drawn(explain.show_matrix(found.table))
    assert cosine.images[0].get_array()[0, 1] == pytest.approx(1 / np.sqrt(2 * 3))
    assert part.images[0].get_array()[0, 1] == pytest.approx(0)
    frame = explain.cross_deletion(Two(), x, explain.saliency(Two(), x), steps=4)
    (excess,) = drawn(explain.show_matrix(frame))
    expected = frame.groupby(["deleted_by", "measured"])["excess"].mean()
    assert excess.images[0].get_array()[1, 0] == pytest.approx(expected["b", "a"])
    assert excess.images[0].get_clim() == pytest.approx((-expected.abs().max(), expected.abs().max()))
    shares = explain.channel_sharing(Two(), x, "mix")
    shared, agreement = drawn(explain.show_matrix(shares))
    assert shared.images[0].get_array().shape == (1, 2)
    assert agreement.images[0].get_array()[0].tolist() == pytest.approx([1, 1])
    assert len(drawn(explain.show_matrix(explain.channel_sharing(Two(), x, "mix", ablate=False)))) == 1


# ---- mistakes


def test_mistakes_are_named() -> None:
    x = torch.rand(3, 1, 6, 6)
    cases: list[tuple[tuple[object, ...], dict[str, object], str]] = [
        ((x, x[:2]), {}, "the map of task 'output' must be like the inputs, [3, 1, 6, 6], got [2, 1, 6, 6]"),
        ((x, {"m": {"a": x, "b": x[:2]}}), {}, "the map of task 'b' of method 'm' must be like the inputs"),
        ((x, x), {"titles": ["one"]}, "titles must be 3, one for each example, got 1"),
        ((x, x), {"limit": 0}, "limit must be an integer >= 1, got 0"),
        ((x, x), {"scale": "rows"}, "no scale 'rows'; did you mean 'row'?"),
        ((x, x), {"percentile": 0}, "percentile must be in 0..100, got 0"),
        ((x, x), {"overlay": 2}, "overlay must be in 0..1, got 2"),
        ((x, x), {"masks": {"a": x}}, "the mask of task 'a' must be [3, 6, 6], got [3, 1, 6, 6]"),
        ((x, x / 0), {}, "the map of task 'output' holds NaN or infinite values"),
        ((x, x), {"names": ["a"]}, "names does not apply to images"),
        ((x[:, 0, 0], x[:, 0, 0]), {"names": ["a"]}, "names must be 6, one for each feature, got 1"),
        ((x[:, 0, 0], x[:, 0, 0]), {"overlay": 0.5}, "overlay does not apply to a table"),
        (
            (x[0, 0, 0], x[0, 0, 0]),
            {},
            "inputs must be images [B, C, H, W] or [B, H, W], or a table [B, F], got [6]",
        ),
        (
            ([["a", "b"]], torch.rand(1, 1)),
            {},
            "the map of task 'output' must be [1, L] or [1, L, D] with L >= 2",
        ),
        (([["a"]], torch.rand(1, 1)), {"masks": {"a": x}}, "masks does not apply to words"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            explain.show(*arguments, **options)
    wrong: list[tuple[object, object, str]] = [
        (x, {"a": (x, x)}, "of a model with several inputs show one input's maps at a time"),
        (x, {"a": x, "b": {"c": x}}, "not a mixture of both"),
        (x, {}, "got none"),
        (x, [x], "got list"),
        ("words", torch.rand(1, 1), "for each example a sequence of words, got str"),
        (["words"], torch.rand(1, 1), "the words of example 0 must be a sequence of strings, got str"),
    ]
    for inputs, given, message in wrong:
        with pytest.raises(TypeError, match=re.escape(message)):
            explain.show(inputs, given)
    by_example = explain.overlap({"a": x, "b": x}, by="example")
    with pytest.raises(ValueError, match=r"got 12 rows of .*; give overlap\(..., by='pair'\)"):
        explain.show_matrix(by_example)
    with pytest.raises(TypeError, match="show_matrix takes a DataFrame, got dict"):
        explain.show_matrix({})


def test_texts_fit() -> None:
    assert fitted("", 1) == ""
    assert fitted("two words", 5) == "two words"
    assert fitted("x" * 100, 1, lines=1).endswith("...")
    for text in ("integrated_gradients", "a b c d e f g h i j", "x" * 50, "one.two.three_four", "_", "a_ b"):
        for inches in (0.3, 0.7, 1.1):
            lines = fitted(text, inches, lines=2).split("\n")
            assert len(lines) <= 2
            assert all(len(line) <= max(6, int(inches * 72 / (0.58 * 9))) for line in lines)
