"""Several inputs (modalities) into one feature vector: a branch each, and four ways to join them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mtl.names import lookup, unknown


class Fusion(nn.Module):
    """A branch for each named input; what they give is brought to one width, z_k = tanh(W_k branch_k(x_k)), and joined.

    | ``how`` | features [B, F] |
    |---|---|
    | ``"product"`` | relu(W [z_1, ..., z_K, z_1 * ... * z_K]): one input may decide what another means |
    | ``"late"`` | the mean of the z: with linear heads, the mean of the inputs' own logits |
    | ``"gated"`` | sum of g_k * z_k with gates g_k = sigmoid(V_k [z_1, ..., z_K]) |
    | ``"attention"`` | sum of a_k * z_k, in each quarter of the features with a = softmax over k of q_k . z_k + b_k |

    A missing input is 0 in the sums and 1 in the product, and gets no attention: it changes nothing.

    With ``dropout`` the model can do without some of its inputs: in training each is left out of an example with that
    probability, never all of them; afterwards a call may leave any out. Without it a call needs all of them, as a model
    that never saw one missing would give a number that means nothing.

    Args:
        branches: {input name: module that gives [B, F_k], with ``out_features`` = F_k}.
        features: the width F of z and of the result.
        how: see above. One branch gives what each way gives of one z.
        dropout: the probability with which training leaves an input out of an example, in [0, 1).

    Raises:
        ValueError: no branch, an unknown ``how``; at a call, an input that has no branch or is missing.

    Source: product: Kim et al. 2017, "Hadamard product for low-rank bilinear pooling", equation 7, without attention;
    gated: Arevalo et al. 2017, "Gated multimodal units for information fusion", section 3.1; attention: the pooling of
    Ilse et al. 2018, equations 7 and 8 (z is their tanh(V h)), by several heads and with a query an input; dropout:
    ModDrop, Neverova et al. 2016.

    >>> import mtl
    >>> branches = {"image": mtl.backbone("identity", in_features=9), "words": mtl.backbone("mlp", in_features=5)}
    >>> both = Fusion(branches, features=16)
    >>> both(image=torch.zeros(2, 3, 3), words=torch.zeros(2, 5)).shape
    torch.Size([2, 16])
    >>> Fusion(branches, features=16, how="gated", dropout=0.3)(image=torch.zeros(2, 3, 3)).shape
    torch.Size([2, 16])
    """

    def __init__(
        self,
        branches: Mapping[str, nn.Module],
        features: int = 64,
        *,
        how: str = "product",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not branches or features < 1:
            raise ValueError(f"Fusion needs a branch and features >= 1, got {list(branches)} and {features}")
        if not 0 <= dropout < 1:
            raise ValueError(f"Fusion.dropout must be in [0, 1), got {dropout}")
        self.branches = nn.ModuleDict(branches)
        self.projections = nn.ModuleDict(
            {name: nn.Linear(int(branch.out_features), features) for name, branch in branches.items()}  # type: ignore[arg-type]
        )
        self.join = lookup("way to fuse", how, FUSIONS)(len(branches), features)
        self.dropout, self.out_features = dropout, features

    def forward(self, **inputs: Tensor) -> Tensor:
        """{name: [B, *S]} -> features [B, F]."""
        for name in inputs:
            if name not in self.branches:
                raise unknown("branch for the input", name, self.branches)
        missing = [name for name in self.branches if name not in inputs]
        if missing and (not inputs or not self.dropout):
            how = "" if self.dropout else "; a Fusion built with dropout can do without"
            raise ValueError(f"Fusion needs the inputs {missing}, got {list(inputs)}{how}")
        found = {
            name: torch.tanh(self.projections[name](branch(inputs[name])))
            for name, branch in self.branches.items()
            if name in inputs
        }
        like = next(iter(found.values()))
        parts = torch.stack([found.get(name, torch.zeros_like(like)) for name in self.branches], dim=1)
        there = torch.tensor([name in inputs for name in self.branches], device=like.device)
        there = there.expand(len(like), -1)  # [B, K]
        if self.training and self.dropout:
            there = there & self._kept(there)
        return self.join(parts * there[:, :, None], there)

    def _kept(self, there: Tensor) -> Tensor:
        """bool [B, K]: drawn for each example; where all would go, one that is there stays, drawn too."""
        kept = torch.rand(there.shape, device=there.device) >= self.dropout
        one = torch.rand(there.shape, device=there.device).where(there, -1.0).argmax(dim=1, keepdim=True)
        none = ~(kept & there).any(dim=1, keepdim=True)
        return kept | (none & torch.zeros_like(kept).scatter(1, one, True))


class Product(nn.Module):
    """relu(W [z_1, ..., z_K, product]); a missing z is 0 in the sum and 1 in the product."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        parts = inputs + (inputs > 1)
        self.linear = nn.Linear(parts * features, features)

    def forward(self, parts: Tensor, there: Tensor) -> Tensor:
        """z [B, K, F], zero where not there [B, K] -> [B, F]."""
        joined = [parts.flatten(1)]
        if parts.shape[1] > 1:
            joined.append(parts.where(there[:, :, None], 1.0).prod(dim=1))
        return torch.relu(self.linear(torch.cat(joined, dim=1)))


class Late(nn.Module):
    """The mean of the z that are there."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()

    def forward(self, parts: Tensor, there: Tensor) -> Tensor:
        """z [B, K, F], zero where not there [B, K] -> [B, F]."""
        return parts.sum(dim=1) / there.sum(dim=1, keepdim=True)


class Gated(nn.Module):
    """Each z times a gate in 0..1 that sees all of them."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.gates = nn.Linear(inputs * features, inputs * features)

    def forward(self, parts: Tensor, there: Tensor) -> Tensor:
        """z [B, K, F], zero where not there [B, K] -> [B, F]."""
        gates = torch.sigmoid(self.gates(parts.flatten(1))).reshape(parts.shape)
        return (gates * parts).sum(dim=1)


class Attention(nn.Module):
    """In each of up to 4 parts of the features, the mean of the z that are there by weights that a query gives them.

    The z themselves are averaged: a value and an output projection behind the one that made them would say nothing
    new, and what an input gives alone is then what it adds beside others.
    """

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        heads = next(h for h in (4, 2, 1) if features % h == 0)
        self.queries = nn.ModuleList(nn.Linear(features, heads) for _ in range(inputs))

    def forward(self, parts: Tensor, there: Tensor) -> Tensor:
        """z [B, K, F], zero where not there [B, K] -> [B, F]."""
        asked = [query(z) for query, z in zip(self.queries, parts.unbind(dim=1), strict=True)]
        scores = torch.stack(asked, dim=1).masked_fill(~there[:, :, None], float("-inf"))  # [B, K, H]
        weights = scores.softmax(dim=1).repeat_interleave(parts.shape[2] // scores.shape[2], dim=2)
        return (weights * parts).sum(dim=1)


FUSIONS: dict[str, type[nn.Module]] = {
    "product": Product,
    "late": Late,
    "gated": Gated,
    "attention": Attention,
}
