"""What stands for an input that is absent: a number, a tensor, the mean of each channel, or the blurred image."""

from __future__ import annotations

import torch
from torch import Tensor

from explain.names import unknown

NAMED = ("mean", "blur")


def absent(baseline: float | str | Tensor, inputs: Tensor, what: str = "baseline") -> Tensor:
    """The baseline of every example, [B, *S] like ``inputs``.

    Args:
        baseline: a number; a tensor [*S] or [B, *S]; ``"mean"``, each example's own mean over pixels of each channel
            (over all its numbers where it has no channels); ``"blur"``, each image [C, H, W] blurred as by `blur`.
        what: the name of the option, for messages.

    >>> absent("mean", torch.tensor([[[[0.0, 1.0]], [[2.0, 6.0]]]])).flatten().tolist()
    [0.5, 0.5, 4.0, 4.0]
    """
    if isinstance(baseline, str):
        if baseline not in NAMED:
            raise unknown(what, baseline, NAMED)
        if baseline == "blur":
            return blur(inputs)
        over = tuple(range(2, inputs.dim())) if inputs.dim() > 3 else tuple(range(1, inputs.dim()))
        return inputs.mean(dim=over, keepdim=True).expand_as(inputs)
    if isinstance(baseline, Tensor):
        if baseline.shape not in (inputs.shape, inputs.shape[1:]):
            raise ValueError(
                f"{what} must be a number, one of {list(NAMED)}, {list(inputs.shape[1:])} or {list(inputs.shape)}, "
                f"got {list(baseline.shape)}"
            )
        if not torch.isfinite(baseline).all():
            raise ValueError(f"{what} holds NaN or infinite values")
        return baseline.detach().to(inputs).expand_as(inputs)
    if isinstance(baseline, bool) or not isinstance(baseline, int | float):
        raise TypeError(
            f"{what} must be a number, one of {list(NAMED)} or a tensor, got {type(baseline).__name__}"
        )
    if not torch.isfinite(torch.tensor(float(baseline))):
        raise ValueError(f"{what} must be finite, got {baseline}")
    return torch.full_like(inputs, float(baseline))


def blur(images: Tensor, sigma: float = 5.0, radius: int = 5) -> Tensor:
    """Images [B, C, H, W] blurred by a Gaussian of 2 radius + 1 pixels, whose weights add up to one at the border too.

    Sigma and radius are those of the released code of Petsiuk et al. 2018, in pixels.

    >>> bool((blur(torch.ones(1, 1, 3, 3)) - 1).abs().max() < 1e-6)
    True
    """
    if images.dim() != 4:
        raise ValueError(f"'blur' needs images [B, C, H, W], got {list(images.shape)}")
    rows, columns = (_kernel(size, sigma, radius).to(images) for size in images.shape[-2:])
    return rows @ images @ columns.T


def _kernel(size: int, sigma: float, radius: int) -> Tensor:
    place = torch.arange(size, dtype=torch.float64)
    distance = place[:, None] - place
    weights = torch.exp(-0.5 * (distance / sigma).square()) * (distance.abs() <= radius)
    return weights / weights.sum(dim=1, keepdim=True)
