"""easy-VQA as the package ships it: questions, answers, disjoint images, exact objects."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

import mtl
from mtl.data.easy_vqa import ANSWERS, GROUND, _object, deciding_words, one_hot, texts_of

package = pytest.importorskip("easy_vqa", reason="needs the vqa extra")


@pytest.fixture(scope="module")
def data() -> mtl.Splits:
    return mtl.dataset("easy_vqa", train=300, validation=100, test=200, image_size=64)


def test_each_question_asks_one_task(data: mtl.Splits) -> None:
    for split in (data.train, data.validation, data.test):
        asked = torch.stack([split.targets[task] >= 0 for task in ANSWERS])
        assert (asked.sum(dim=0) == 1).all()
        for task, has in zip(ANSWERS, asked, strict=True):
            assert has.any()
            assert torch.equal(split.masks[task].flatten(1).any(dim=1), has)


def test_questions_answers_and_pixels_are_the_packages(data: mtl.Splits) -> None:
    """Each question of the split is found in the package with this text, this answer and this image."""
    texts, answers, ids = package.get_test_questions()
    paths = package.get_test_image_paths()
    told = {(text.rstrip("?"), answer) for text, answer in zip(texts, answers, strict=True)}
    pixels: dict[bytes, list[int]] = {}
    for image, path in paths.items():
        with Image.open(path) as picture:
            pixels.setdefault(np.asarray(picture.convert("RGB")).tobytes(), []).append(image)
    by_image: dict[int, set[tuple[str, str]]] = {}
    for text, answer, image in zip(texts, answers, ids, strict=True):
        by_image.setdefault(image, set()).add((text.rstrip("?"), answer))
    words = texts_of(data.test.inputs["words"], data.feature_names)
    for k in range(len(data.test)):
        task = next(task for task in ANSWERS if data.test.targets[task][k] >= 0)
        asked = " ".join(words[k]), ANSWERS[task][int(data.test.targets[task][k])]
        assert asked in told
        own = (
            ((data.test.inputs["image"][k] + GROUND) * 255).round().byte().permute(1, 2, 0).numpy().tobytes()
        )
        assert any(asked in by_image[image] for image in pixels[own])


def test_splits_share_no_image() -> None:
    data = mtl.dataset("easy_vqa", train=5000, validation=1000, test=500, image_size=8)
    seen = [{x.numpy().tobytes() for x in split.inputs["image"]} for split in (data.train, data.validation)]
    assert not seen[0] & seen[1]


def test_objects_are_whole_and_small(data: mtl.Splits) -> None:
    """Also where an object lies over the corner of the image, which is then not background."""
    area = torch.stack(list(data.test.masks.values())).any(dim=0).float().mean(dim=(1, 2))
    assert area.min() > 0.01
    assert area.max() < 0.3
    image = np.full((8, 8, 3), 240, dtype=np.uint8)
    image[:3, :3] = (255, 0, 0)
    assert _object(image).sum() == 9


def test_smaller_images_are_averages_and_masks_keep_every_pixel() -> None:
    large, small = (
        mtl.dataset("easy_vqa", train=20, validation=5, test=5, image_size=size).train for size in (64, 16)
    )
    block = large.inputs["image"].reshape(20, 3, 16, 4, 16, 4)
    torch.testing.assert_close(small.inputs["image"], block.mean(dim=(3, 5)))
    for task in ANSWERS:
        expected = large.masks[task].reshape(20, 16, 4, 16, 4).any(dim=4).any(dim=2)
        assert torch.equal(small.masks[task], expected)


@pytest.mark.parametrize(("text", "decide"), [
    ("is there not a blue shape?", ["not", "blue"]),
    ("is no triangle present?", ["no", "triangle"]),
    ("does the image contain a circle?", ["circle"]),
    ("what color is the triangle?", []),
    ("what is the blue shape?", []),
])  # fmt: skip
def test_words_that_decide(text: str, decide: list[str], data: mtl.Splits) -> None:
    words = one_hot([text], data.feature_names, 9)
    chosen = deciding_words(words, data.feature_names)[0]
    assert [
        word for word, yes in zip(texts_of(words, data.feature_names)[0], chosen, strict=False) if yes
    ] == decide


def test_the_deciding_words_decide() -> None:
    """Two questions about one image with the same deciding words have the same answer, in the whole package."""
    vocabulary = mtl.dataset("easy_vqa", train=2, validation=1, test=1).feature_names
    texts, answers, ids = package.get_test_questions()
    words = one_hot(texts, vocabulary, 9)
    chosen = deciding_words(words, vocabulary)
    found: dict[tuple[object, ...], set[str]] = {}
    for k, own in enumerate(texts_of(words, vocabulary)):
        named = sorted(word for word, yes in zip(own, chosen[k], strict=False) if yes)
        if named:
            negated = any(word in ("no", "not") for word in named)
            key = ids[k], negated, *(word for word in named if word not in ("no", "not"))
            found.setdefault(key, set()).add(answers[k])
    assert len(found) > 5000
    assert all(len(given) == 1 for given in found.values())


def test_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="image_size must be a divisor of 64, got 48"):
        mtl.dataset("easy_vqa", image_size=48)
    with pytest.raises(ValueError, match="cannot split"):
        mtl.dataset("easy_vqa", train=10**6)
    # by its name in sys.modules: in the package the function of the same name stands before the module
    monkeypatch.setattr(sys.modules["mtl.data.easy_vqa"], "is_there", lambda: False)
    with pytest.raises(ImportError, match=r"package easy-vqa; pip install 'candelabra\[vqa\]'"):
        mtl.dataset("easy_vqa")
