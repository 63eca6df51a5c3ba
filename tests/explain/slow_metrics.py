"""Each metric that perturbs the input once more, one example and one forward pass at a time, from the papers."""

import numpy as np
import scipy.sparse
import scipy.stats
import torch
from scipy.sparse.linalg import spsolve
from torch import Tensor

from explain.batching import generator as stream
from explain.batching import noise_like
from explain.metrics.correlation import STREAM
from explain.metrics.road import STREAM as ROAD_STREAM
from tests.explain.models import Heads


class Slow:
    """A model of images [2, 8, 8], explained by maps for the classes it predicts."""

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
