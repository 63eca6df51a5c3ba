"""Scenes against a slow ray-caster of other formulas, and what a set of them promises."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import mtl
from mtl.data.scenes import render
from mtl.data.scenes.draw import CYLINDER, PLAIN, SPHERE, Scene, draw, length
from mtl.data.scenes.labels import CLASSES, VISIBLE, label
from mtl.data.scenes.rays import GROUND, SKY, Seen, cast
from tests.mtl.marched import Walker

SIZE, SCENES = 16, 6


@pytest.fixture(scope="module")
def drawn() -> Scene:
    return draw(3, "test", range(SCENES))


@pytest.fixture(scope="module")
def seen(drawn: Scene) -> Seen:
    """In float32, as the data set has it."""
    return cast(drawn.to(torch.float32), SIZE)


@pytest.fixture(scope="module")
def walked(drawn: Scene) -> tuple[np.ndarray, np.ndarray]:
    """What and depth [N, P], by walking."""
    found = [
        [walker.first(walker.ray(row, column, SIZE)) for row in range(SIZE) for column in range(SIZE)]
        for walker in (Walker(drawn, n) for n in range(SCENES))
    ]
    return np.array([[what for what, _ in rows] for rows in found]), np.array(
        [[depth for _, depth in rows] for rows in found]
    )


def test_masks_and_depth_agree_with_walking(seen: Seen, walked: tuple[np.ndarray, np.ndarray]) -> None:
    """But for a ray that grazes an object for less than a step; the depth to a tenth of a millimetre a metre."""
    what, depth = walked
    same = seen.what.numpy() == what
    assert same.mean() > 0.997
    there = same & (what != SKY)
    assert there.mean() > 0.5
    assert len(np.unique(what)) >= 6  # objects of several numbers, ground and sky
    np.testing.assert_allclose(seen.depth.numpy()[there], depth[there], rtol=1e-4)
    assert bool(seen.depth[seen.what == SKY].isinf().all())


def test_normals_agree_with_neighbouring_rays(drawn: Scene, seen: Seen) -> None:
    angles = []
    for n in range(SCENES):
        walker = Walker(drawn, n)
        for pixel in (seen.what[n] < GROUND).nonzero()[::3, 0].tolist():
            expected = walker.facing(pixel // SIZE, pixel % SIZE, SIZE)
            angles.append(np.degrees(np.arccos(np.clip(expected @ seen.normal[:, n, pixel].numpy(), -1, 1))))
    assert len(angles) > 40
    assert np.mean(np.array(angles) < 0.5) > 0.97  # the others lie on an edge
    lengths = length(seen.normal)
    assert float((lengths[seen.what != SKY] - 1).abs().max()) < 1e-5
    assert not seen.normal[:, seen.what == SKY].any()


def test_light_and_shadow(drawn: Scene) -> None:
    """Without textures: own colour times (ambient + direct max(n.l, 0)), the latter only where nothing is between."""
    plain = dataclasses.replace(drawn, pattern=torch.full_like(drawn.pattern, PLAIN))
    seen = cast(plain, SIZE)
    rays_right, dark_pixels = [], 0
    for n in range(SCENES):
        walker = Walker(drawn, n)
        for pixel in (seen.what[n] != SKY).nonzero()[::5, 0].tolist():
            what = int(seen.what[n, pixel])
            point = float(seen.depth[n, pixel]) * walker.ray(pixel // SIZE, pixel % SIZE, SIZE)
            facing = max(0.0, float(seen.normal[:, n, pixel].numpy() @ walker.light))
            dark = facing > 0 and walker.dark(point, what)
            dark_pixels += dark
            light = float(drawn.ambient[n]) + float(drawn.direct[n]) * facing * (not dark)
            expected = drawn.colours[0, :, n, min(what, GROUND)] * light
            rays_right.append(bool(torch.allclose(seen.colour[:, n, pixel], expected.clamp(0, 1), atol=1e-6)))
    assert dark_pixels > 5
    assert np.mean(rays_right) > 0.985  # the others lie on a shadow's edge


def test_objects_stand_on_the_ground_and_apart(drawn: Scene) -> None:
    """The lowest of many points of each surface is on the ground; no two bounding spheres' shadows overlap."""
    turn = torch.linspace(0, 2 * math.pi, 721, dtype=torch.float64)
    ring = torch.stack([turn.cos(), turn.sin()])
    for n in range(SCENES):
        up = drawn.up[:, n]
        for k in drawn.there[n].nonzero()[:, 0].tolist():
            kind, half, axes = int(drawn.kind[n, k]), drawn.half[:, n, k], drawn.axes[:, :, n, k]
            torch.testing.assert_close(axes @ axes.T, torch.eye(3, dtype=torch.float64))
            if kind == SPHERE:
                surface = -half[0] * up[:, None]
            elif kind == CYLINDER:
                rims = [
                    torch.cat([half[0] * ring, torch.full_like(turn, z)[None]]) for z in (-half[2], half[2])
                ]
                surface = axes.T @ torch.cat(rims, dim=1)
            else:
                corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
                surface = axes.T @ (corners * half).T
            lowest = float((up @ (surface + drawn.centre[:, n, k, None])).min())
            assert lowest == pytest.approx(-float(drawn.height[n]), abs=1e-4)
        centres, radii = drawn.centre[:, n, drawn.there[n]], drawn.radius[n, drawn.there[n]]
        flat = centres - up[:, None] * (up @ centres)
        for i in range(len(radii)):
            for j in range(i):
                assert float((flat[:, i] - flat[:, j]).norm()) >= float(radii[i] + radii[j]) - 1e-9


def test_labels_by_hand() -> None:
    """Counts, boundary and relation of two pictures, by loops over what is seen."""
    scene = draw(0, "train", range(12)).to(torch.float32)
    seen = cast(scene, 32)
    labels = label(scene, seen)
    for n in range(12):
        what = seen.what[n].reshape(32, 32)
        pixels = {k: int((what == k).sum()) for k in range(GROUND)}
        visible = [k for k, count in pixels.items() if count >= VISIBLE * 32 * 32]
        expected = [sum(int(scene.kind[n, k]) == kind for k in visible) for kind in range(3)]
        assert labels.counts[n].tolist() == expected
        for row, column in ((0, 0), (31, 31), (10, 20), (16, 16), (25, 5)):
            around = [(row + y, column + x) for y, x in ((0, 1), (0, -1), (1, 0), (-1, 0))]
            differs = any(what[y, x] != what[row, column] for y, x in around if 0 <= y < 32 and 0 <= x < 32)
            assert bool(labels.boundary[n, row, column]) == differs
            shown = int(what[row, column])
            name = {GROUND: "ground", SKY: "sky"}.get(shown) or CLASSES[
                2 + int(scene.kind[n, min(shown, GROUND - 1)])
            ]
            assert CLASSES[int(labels.segmentation[n, row, column])] == name
            assert int(labels.objects[n, row, column]) == (shown if shown < GROUND else -1)
        if len(visible) < 2:
            assert int(labels.relation[n]) == -1
            assert not labels.related[n].any()
            continue
        largest = max(visible, key=lambda k: pixels[k])
        centre = lambda k: scene.centre[:, n, k]  # noqa: B023, E731
        other = min(
            (k for k in visible if k != largest), key=lambda k: float((centre(k) - centre(largest)).norm())
        )
        right = float(centre(largest)[0] / centre(largest)[2]) >= float(centre(other)[0] / centre(other)[2])
        farther = float(centre(largest)[2]) >= float(centre(other)[2])
        assert int(labels.relation[n]) == 2 * right + farther
        assert int(labels.related[n].sum()) == pixels[largest] + pixels[other]
    assert bool(labels.depth.isnan().equal(labels.segmentation == 0))
    assert bool(labels.normals.isnan().all(dim=1).equal(labels.segmentation == 0))


def test_a_scene_follows_from_its_seed_part_and_index_alone() -> None:
    """To the bit: whatever is rendered beside it, in any order, in a longer set."""
    many, of_many = render(range(40), image_size=32)
    few, of_few = render([33, 2], image_size=32)
    for row, index in enumerate((33, 2)):
        assert torch.equal(few[row], many[index])
        for name in vars(of_few):
            first, second = getattr(of_few, name)[row], getattr(of_many, name)[index]
            assert torch.equal(first.nan_to_num(-9.0), second.nan_to_num(-9.0))
    short, long = (mtl.dataset("scenes", train=n, validation=1, test=1, image_size=16) for n in (2, 5))
    assert torch.equal(short.train.inputs, long.train.inputs[:2])
    assert not torch.equal(many[0], render([0], image_size=32, seed=1)[0][0])
    assert not torch.equal(many[0], render([0], image_size=32, part="test")[0][0])


def test_splits_fit_their_tasks() -> None:
    data = mtl.dataset("scenes", train=8, validation=2, test=2, image_size=16)
    for task in data.tasks:
        task.check(data.train.targets[task.name], 8)
    assert float(data.train.inputs.min()) >= 0
    assert float(data.train.inputs.max()) <= 1
    assert data.train.masks["segmentation"].equal(data.train.targets["segmentation"] >= 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mtl.dataset("scenes", train=0), "scenes: train must be at least 1, got 0"),
        (lambda: mtl.dataset("scenes", image_size=8), "image_size must be at least 16, got 8"),
        (lambda: render([]), "at least one"),
        (lambda: render([-1]), "indices must be numbers >= 0"),
    ],
)
def test_what_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
