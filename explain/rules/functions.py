"""What each torch function is to an attribution rule: one table from function objects to kinds.

A function has many names (``torch.relu``, ``F.relu``, ``Tensor.relu``, ``torch.relu_``, ``F.relu(x, inplace=True)``);
all lead to one `Op`. The kinds:

==================  ==================================================================================================
shape               moves, copies, drops or zeroes elements; a constant mask or index may say which
linear              linear or affine in what depends on the input: layers with constant weights, means, interpolation
scale               each element times a constant
add                 sums and differences, of two activations or of one and a constant
product             bilinear in two activations: x * y, attention's matmul, a convolution whose weights are computed
divide              divided by an activation
relu, clipped_relu  ReLU under any name, and ReLU with an upper bound (ReLU6)
elementwise         every other function of single elements
max, maximum, min   max pooling and maxima; the larger of two tensors; minima.   ``sorted``: other places by rank
softmax, norm, attention, gated, recurrent, moment, similarity, logsumexp
                    softmax and its logarithm; layer, group, instance and RMS norm; scaled dot products; GLU; LSTM and
                    its like; norms and variances; cosines and distances: each is taken apart in `explain.rules.parts`
batch_norm          with running statistics: affine.   ``batch_statistics``: the batch's own, which mix examples
dropout             switched off.   ``random``: switched on
select              moves elements, chosen by values of the input (x[scores.argmax()])
gate                multiplies or masks by a value computed from the input without a gradient: x * (x > 0)
shift               adds such a value
constant            the shape and type of a tensor without its values
==================  ==================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NAMES = {
    "shape": """
        view reshape view_as reshape_as flatten unflatten ravel squeeze unsqueeze transpose t permute swapaxes swapdims
        movedim moveaxis expand expand_as broadcast_to broadcast_tensors repeat tile repeat_interleave contiguous clone
        chunk unsafe_chunk split unsafe_split split_with_sizes tensor_split hsplit vsplit dsplit unbind cat concat
        concatenate stack hstack vstack dstack column_stack row_stack narrow select __getitem__ index_select gather take
        take_along_dim masked_select unfold fold roll flip fliplr flipud rot90 pad constant_pad_nd pixel_shuffle
        pixel_unshuffle channel_shuffle native_channel_shuffle to type type_as float double half bfloat16 cpu cuda
        diagonal diag diag_embed tril triu masked_fill masked_scatter where index_fill scatter scatter_add index_put
        index_add index_copy select_scatter slice_scatter atleast_1d atleast_2d atleast_3d meshgrid detach copy
        __setitem__ fill zero positive requires_grad adjoint im2col col2im block_diag as_strided""",
    "linear": """
        mean sum cumsum diff neg negative trace avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
        adaptive_avg_pool2d adaptive_avg_pool3d interpolate upsample upsample_bilinear upsample_nearest grid_sample
        affine_grid lerp fft ifft fft2 ifft2 fftn ifftn rfft irfft rfft2 irfft2 rfftn irfftn fftshift ifftshift
        view_as_real view_as_complex real imag""",
    "bilinear": """
        linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d conv_tbc convolution matmul mm
        bmm mv dot vdot inner outer ger einsum tensordot addmm addmv baddbmm addbmm bilinear mul multiply kron
        __matmul__ __rmatmul__ __mul__ __rmul__ __imul__""",
    "add": "add sub subtract rsub __add__ __radd__ __iadd__ __sub__ __rsub__ __isub__",
    "divide": "div divide true_divide __truediv__ __rdiv__ __rtruediv__ __idiv__ __itruediv__ __div__",
    "relu": "relu",
    "elementwise": """
        relu6 hardtanh clamp clamp_min clamp_max clip threshold _threshold leaky_relu prelu elu selu celu rrelu gelu
        silu mish softplus softsign tanh tanhshrink hardshrink softshrink sigmoid expit logsigmoid log_sigmoid
        hardsigmoid hardswish exp exp2 expm1 log log2 log10 log1p sqrt rsqrt square pow __pow__ __ipow__ float_power
        abs absolute reciprocal sin cos tan sinh cosh asin acos atan arctan asinh acosh atanh erf erfc erfinv sinc
        logit round floor ceil trunc fix frac sign sgn nan_to_num rad2deg deg2rad i0 lgamma digamma ndtr log_ndtr
        __rpow__""",
    "max": """
        max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d amax max maximum
        fmax max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d_with_indices
        adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices""",
    "min": "amin min minimum fmin",
    "sorted": "topk sort msort argsort kthvalue median nanmedian cummax cummin",
    "softmax": "softmax log_softmax",
    "logsumexp": "logsumexp",
    "norm": "layer_norm group_norm instance_norm rms_norm",
    "batch_norm": "batch_norm",
    "attention": "scaled_dot_product_attention",
    "gated": "glu",
    "recurrent": "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
    "moment": "norm vector_norm std var std_mean var_mean",
    "similarity": "cosine_similarity pairwise_distance",
    "dropout": """
        dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout""",
    "constant": """
        zeros_like ones_like empty_like full_like rand_like randn_like new_zeros new_ones new_empty new_full
        new_tensor""",
}
SAME = {  # another name for the same function
    "negative": "neg", "multiply": "mul", "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul", "subtract": "sub",
    "__sub__": "sub", "__isub__": "sub", "__add__": "add", "__radd__": "add", "__iadd__": "add", "__rsub__": "rsub",
    "divide": "div", "true_divide": "div", "__truediv__": "div", "__itruediv__": "div", "__div__": "div",
    "__idiv__": "div", "__rdiv__": "rdiv", "__rtruediv__": "rdiv", "clip": "clamp", "_threshold": "threshold",
    "expit": "sigmoid", "log_sigmoid": "logsigmoid", "absolute": "abs", "arctan": "atan", "__pow__": "pow",
    "__ipow__": "pow", "__rpow__": "rpow", "__matmul__": "matmul", "__rmatmul__": "rmatmul", "concat": "cat",
    "concatenate": "cat", "ger": "outer", "vector_norm": "norm", "fmax": "maximum", "fmin": "minimum",
}  # fmt: skip
IN_PLACE = {"__iadd__", "__isub__", "__imul__", "__idiv__", "__itruediv__", "__ipow__", "__setitem__"}
ONLY_FUNCTIONAL = {"batch_norm", "instance_norm"}  # torch's own have their arguments in another order
SPACES: tuple[Any, ...] = (
    torch, torch.Tensor, torch._C.TensorBase, torch._C._VariableFunctions, F, torch._C._nn, torch.special, torch.linalg,
    torch.fft,
)  # fmt: skip


@dataclass(frozen=True)
class Op:
    """A torch function: its plain name, its kind, and whether it writes into its first argument.

    ``flag`` is the place of an argument ``inplace`` among the positional ones, where there is one.
    """

    name: str
    kind: str
    in_place: bool = False
    flag: int | None = None


def _flag(function: Any) -> int | None:
    if not isinstance(function, FunctionType):
        return None
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    return names.index("inplace") if "inplace" in names else None


def _table() -> dict[Any, Op]:
    table: dict[Any, Op] = {}
    for kind, names in NAMES.items():
        for name in names.split():
            for space in (F,) if name in ONLY_FUNCTIONAL else SPACES:
                plain, written = getattr(space, name, None), getattr(space, f"{name}_", None)
                same = SAME.get(name, name)
                if callable(plain):
                    table[plain] = Op(same, kind, name in IN_PLACE, _flag(plain))
                if callable(written) and not name.startswith("__"):
                    table[written] = Op(same, kind, True)
    return table


FUNCTIONS = _table()


FACTORS = {
    "addmm": (1, 2),
    "addmv": (1, 2),
    "baddbmm": (1, 2),
    "addbmm": (1, 2),
    "bilinear": (0, 1, 2),
}  # else 0 and 1
SUMMANDS = {"bias", "input", "self", "beta", "alpha"}  # keywords that are no factors
MASKED = {"where", "masked_fill", "masked_scatter"}
ONLY_SHAPE = {
    "view_as",
    "reshape_as",
    "expand_as",
    "type_as",
    "to",
}  # the second tensor's values are not used


def argument(
    args: Sequence[Any], kwargs: Mapping[str, Any], place: int, name: str, default: Any = None
) -> Any:
    """An argument that may be given by place or by name."""
    return args[place] if place < len(args) else kwargs.get(name, default)


def quotient(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """What is divided, and by what: ``x / y`` and ``2 / x`` (which is ``x.__rdiv__(2)``)."""
    above, below = args[0], argument(args, kwargs, 1, "other")
    return (below, above) if name == "rdiv" else (above, below)


def classify(
    op: Op, args: Sequence[Any], kwargs: Mapping[str, Any], active: Collection[int], aside: Collection[int]
) -> str:
    """The kind of one call.

    Args:
        op: what the function is.
        args: its arguments.
        kwargs: its keyword arguments.
        active: ids of the tensors that depend on the input with a gradient; at least one is among the arguments.
        aside: ids of those that depend on it without one (detached, compared, counted).

    >>> x, y, mask = torch.ones(2), torch.ones(2), torch.ones(2)
    >>> multiply = FUNCTIONS[torch.mul]
    >>> [classify(multiply, (x, y), {}, a, b) for a, b in (({id(x)}, {}), ({id(x), id(y)}, {}), ({id(x)}, {id(y)}))]
    ['scale', 'product', 'gate']
    >>> classify(FUNCTIONS[torch.clamp], (x,), {"min": 0}, {id(x)}, {})
    'relu'
    """

    def count(values: Any, among: Collection[int]) -> int:
        return sum(id(tensor) in among for tensor in tensors_in(values))

    everything = (args, kwargs)
    mixed = bool(aside) and count(everything, aside) > 0
    several = count(everything, active) > 1
    match op.kind:
        case "bilinear":
            return _bilinear(op.name, args, kwargs, active, aside)
        case "divide":
            above, below = quotient(op.name, args, kwargs)
            if argument(args, kwargs, 2, "rounding_mode") is not None:
                return "unknown"
            return "divide" if count(below, active) else "gate" if count((above, below), aside) else "scale"
        case "shape":
            return _moved(op.name, args, kwargs, count, active, aside) if mixed else "shape"
        case "add":
            return "shift" if mixed else "add"
        case "linear":
            moved = op.name in {"grid_sample", "affine_grid"} and count((args[1:], kwargs), active)
            blended = op.name == "lerp" and count(argument(args, kwargs, 2, "weight"), active)
            return "unknown" if moved or blended else "gate" if mixed else "linear"
        case "elementwise" if op.name == "rrelu" and argument(args, kwargs, 3, "training", False):
            return "random"
        case "elementwise":
            odd = several or any(tensor.is_complex() for tensor in tensors_in(everything))
            return "gate" if mixed else "unknown" if odd else _rectified(op.name, args, kwargs)
        case "max" | "min" if not mixed and isinstance(argument(args, kwargs, 1, "other"), Tensor):
            if several:
                return "maximum" if op.kind == "max" else "min"
            others = [tensor for tensor in tensors_in(everything) if id(tensor) not in active]
            return "relu" if op.kind == "max" and not any(t.any() for t in others) else "elementwise"
        case "batch_norm" if argument(args, kwargs, 5, "training", False):
            return "batch_statistics"
        case "norm" if op.name == "instance_norm" and not argument(args, kwargs, 5, "use_input_stats", True):
            return "batch_norm"
        case "dropout":
            off = op.name in {"alpha_dropout", "feature_alpha_dropout"}
            return (
                "random" if argument(args, kwargs, 2, "training", kwargs.get("train", not off)) else "dropout"
            )
    return "gate" if mixed else op.kind


def _bilinear(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], active: Collection[int], aside: Collection[int]
) -> str:
    places = range(1, len(args)) if name == "einsum" else FACTORS.get(name, (0, 1))
    factors = [args[place] for place in places if place < len(args)]
    factors += [
        value
        for key, value in kwargs.items()
        if key not in SUMMANDS or (key == "input" and name not in FACTORS)
    ]
    ids = [id(tensor) for tensor in tensors_in(factors)]
    found = sum(key in active for key in ids)
    if found > 1:
        return "product" if found == 2 else "unknown"
    if any(id(tensor) in aside for tensor in tensors_in((args, kwargs))):
        return "gate"
    return "scale" if name == "mul" else "linear"


def _moved(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    count: Callable[[Any, Collection[int]], int],
    active: Collection[int],
    aside: Collection[int],
) -> str:
    """The kind of a call that moves elements, where a value computed aside is among its arguments."""
    if name in ONLY_SHAPE:
        return "shape"
    if name in MASKED or (name == "__setitem__" and count(args[1], aside)):
        return "gate"
    index = [value for value in tensors_in((args[1:], kwargs)) if not value.is_floating_point()]
    return "select" if count(index, aside) and count(args[:1], active) else "shift"


def _rectified(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """ "relu" or "clipped_relu" where the function is one, by its bounds; else "elementwise"."""
    low, high = {
        "relu6": (0, 6),
        "hardtanh": (argument(args, kwargs, 1, "min_val", -1.0), argument(args, kwargs, 2, "max_val", 1.0)),
        "clamp": (argument(args, kwargs, 1, "min"), argument(args, kwargs, 2, "max")),
        "clamp_min": (argument(args, kwargs, 1, "min"), None),
        "threshold": (argument(args, kwargs, 1, "threshold"), None),
    }.get(name, (None, None))
    if isinstance(low, Tensor):
        low = float(low) if low.numel() == 1 else None
    if low is None or low != 0 or isinstance(high, Tensor):
        return "elementwise"
    if name == "threshold" and argument(args, kwargs, 2, "value") != 0:
        return "elementwise"
    return "relu" if high is None else "clipped_relu" if high > 0 else "elementwise"


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dicts, in order.

    >>> len(list(tensors_in(([torch.ones(1)], {"a": torch.ones(1), "b": 2}))))
    2
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))
