"""easy-VQA: questions about one coloured shape on a plain ground, each of which asks one of three tasks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mtl.data.task_data import Splits, TaskData, split_rows
from mtl.tasks import MISSING, Classification
from mtl.training.streams import generator

ANSWERS = {
    "shape": ("circle", "rectangle", "triangle"),
    "colour": ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow"),
    "yes_no": ("no", "yes"),
}
NEGATIONS = ("no", "not")
SIDE = 64  # pixels of the images as they are
GROUND = 0.95  # the mean of the backgrounds, which are light and differ from image to image
MISSING_PACKAGE = "the data set 'easy_vqa' comes with the package easy-vqa; pip install 'candelabra[vqa]'"


def is_there() -> bool:
    """Whether the package with the data is installed."""
    return find_spec("easy_vqa") is not None


def easy_vqa(
    *, train: int = 12_000, validation: int = 1_000, test: int = 2_000, image_size: int = 32, seed: int = 0
) -> Splits:
    """Three tasks with missing labels: each question asks for the ``shape``, the ``colour``, or ``yes_no``.

    Inputs are ``image``, float [N, 3, S, S], pixels in 0..1 minus `GROUND` (zero is about an empty picture), and
    ``words``, float [N, L, V], one row a word, one-hot in the vocabulary (``feature_names``), zeros behind the last.
    Answers of the other two tasks are missing (-1). The mask is the object: every pixel that is not of the image's
    commonest colour; empty for tasks that the question does not ask.

    Args:
        train, validation, test: numbers of questions, drawn from 3,600, 400 and 1,000 images that are disjoint.
        image_size: S, a divisor of 64; pixels are averaged.
        seed: of the split and of the questions drawn.

    Raises:
        ImportError: the package easy-vqa is missing.
        ValueError: sizes out of range.

    Source: Victor Zhou's easy-VQA 1.0 (MIT): 5,000 images, 48,248 questions, 13 answers.

    >>> data = easy_vqa(train=4, validation=2, test=2)
    >>> {name: list(x.shape) for name, x in data.train.inputs.items()}, [task.name for task in data.tasks]
    ({'image': [4, 3, 32, 32], 'words': [4, 9, 26]}, ['shape', 'colour', 'yes_no'])
    """
    if image_size < 1 or SIDE % image_size:
        raise ValueError(f"easy_vqa: image_size must be a divisor of {SIDE}, got {image_size}")
    if not is_there():
        raise ImportError(MISSING_PACKAGE)
    import easy_vqa as package

    draw = generator(seed, "easy_vqa")
    asked, files = package.get_train_questions(), package.get_train_image_paths()
    learn, check = (set(rows.tolist()) for rows in split_rows(len(files), (3600, 400), draw))
    vocabulary = tuple(sorted({word for text in asked[0] for word in words_of(text)}))
    length = max(len(words_of(text)) for text in asked[0])
    parts = []
    for questions, paths, images, count in (
        (asked, files, learn, train),
        (asked, files, check, validation),
        (package.get_test_questions(), package.get_test_image_paths(), None, test),
    ):
        rows = [r for r, image in enumerate(questions[2]) if images is None or image in images]
        chosen = [rows[int(k)] for k in split_rows(len(rows), (count,), draw)[0]]
        texts, answers, ids = ([column[r] for r in chosen] for column in questions)
        pixels, object_ = _pictures(paths, ids, image_size)
        targets = {
            task: torch.tensor([names.index(a) if a in names else MISSING for a in answers])
            for task, names in ANSWERS.items()
        }
        masks = {task: object_ & (target != MISSING)[:, None, None] for task, target in targets.items()}
        parts.append((pixels, one_hot(texts, vocabulary, length), targets, masks))
    learned, checked, tested = (
        TaskData({"image": x - GROUND, "words": words}, targets, masks) for x, words, targets, masks in parts
    )
    tasks = tuple(Classification(task, classes=names) for task, names in ANSWERS.items())
    return Splits("easy_vqa", tasks, learned, checked, tested, vocabulary)


def words_of(text: str) -> list[str]:
    """The words of a question, in lower case.

    >>> words_of("Is there a red shape?")
    ['is', 'there', 'a', 'red', 'shape']
    """
    return re.findall(r"[a-z]+", text.lower())


def one_hot(texts: Sequence[str], vocabulary: Sequence[str], length: int) -> Tensor:
    """Words as float [N, length, V]; rows behind the last word are zero.

    >>> one_hot(["red shape"], ("red", "shape"), 3)
    tensor([[[1., 0.], [0., 1.], [0., 0.]]])
    """
    place = {word: v for v, word in enumerate(vocabulary)}
    found = torch.zeros(len(texts), length, len(vocabulary))
    for n, text in enumerate(texts):
        for k, word in enumerate(words_of(text)):
            found[n, k, place[word]] = 1.0
    return found


def texts_of(words: Tensor, vocabulary: Sequence[str]) -> list[list[str]]:
    """The words of each question again, from [N, L, V].

    >>> texts_of(one_hot(["red shape"], ("red", "shape"), 3), ("red", "shape"))
    [['red', 'shape']]
    """
    return [[vocabulary[int(v)] for v in text.argmax(dim=1)[text.any(dim=1)]] for text in words]


def deciding_words(words: Tensor, vocabulary: Sequence[str]) -> Tensor:
    """bool [N, L]: in a question of yes or no, the colour or shape that it names, and the negation; else none.

    The answer follows from these words and the image alone. The other questions show the same answer whatever their
    words are, once it is known which task they ask: there is one object in each image.
    """
    names = {*ANSWERS["shape"], *ANSWERS["colour"], *NEGATIONS}
    names_one = torch.tensor([word in names for word in vocabulary], device=words.device)
    asks = torch.tensor([word == "what" for word in vocabulary], device=words.device)
    open_ = (words * asks).sum(dim=(1, 2)) > 0  # what shape, what colour
    return ((words * names_one).sum(dim=2) > 0) & ~open_[:, None]


def _pictures(files: dict[int, str], ids: Sequence[int], size: int) -> tuple[Tensor, Tensor]:
    """Images [N, 3, S, S] in 0..1, and where they are not the background, bool [N, S, S]."""
    place = {image: m for m, image in enumerate(dict.fromkeys(ids))}
    pixels = np.stack([_pixels(Path(files[image])) for image in place])  # [M, 64, 64, 3]
    object_ = np.stack([_object(image) for image in pixels])  # [M, 64, 64]
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    times = SIDE // size
    small, inside = (
        F.avg_pool2d(images, times),
        F.max_pool2d(torch.from_numpy(object_).float()[:, None], times),
    )
    rows = torch.tensor([place[image] for image in ids])
    return small[rows], inside[rows, 0] > 0


def _pixels(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def _object(pixels: np.ndarray) -> np.ndarray:
    """Where an image [H, W, 3] is not of its commonest colour: objects cover less than a third of it."""
    colours = pixels.astype(np.int64) @ [65536, 256, 1]  # [H, W]
    values, counts = np.unique(colours, return_counts=True)
    return colours != values[counts.argmax()]
