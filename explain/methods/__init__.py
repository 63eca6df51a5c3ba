"""Attribution methods by name: each a frozen dataclass of options, called with scores and inputs."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from explain.methods.controls import Edges, Image, Random
from explain.methods.deeplift import DeepLift, DeepLiftShap
from explain.methods.eigen_cam import EigenCam
from explain.methods.feature_ablation import FeatureAblation
from explain.methods.grad_cam import GradCam, GradCamPlusPlus, HiResCam, LayerCam
from explain.methods.gradient_shap import GradientShap
from explain.methods.gradients import Gradient, InputTimesGradient
from explain.methods.guided import Deconvolution, GuidedBackprop
from explain.methods.guided_grad_cam import GuidedGradCam
from explain.methods.integrated import IntegratedGradients
from explain.methods.kernel_shap import KernelShap
from explain.methods.lime import Lime
from explain.methods.lrp import Lrp
from explain.methods.noise import SmoothGrad, SmoothGradSquared, VarGrad
from explain.methods.occlusion import Occlusion
from explain.methods.rise import Rise
from explain.methods.score_cam import ScoreCam
from explain.methods.shapley_sampling import ShapleySampling
from explain.scorer import Scorer


class Method(Protocol):
    """What a method is: options, and a call that gives K signed maps."""

    def __call__(self, scorer: Scorer, inputs: Tensor, first: int, seed: int) -> list[Tensor]:
        """K maps [B, *S], in the order of ``scorer.tasks``.

        Args:
            scorer: the scores [B, K] of inputs [B, *S].
            inputs: one micro-batch, float and finite.
            first: the place of inputs[0] in the whole batch.
            seed: for `explain.batching.noise_like`.
        """
        ...


METHODS: dict[str, type[Any]] = {
    "gradient": Gradient,
    "input_x_gradient": InputTimesGradient,
    "integrated_gradients": IntegratedGradients,
    "smoothgrad": SmoothGrad,
    "smoothgrad_squared": SmoothGradSquared,
    "vargrad": VarGrad,
    "gradient_shap": GradientShap,
    "deeplift": DeepLift,
    "deeplift_shap": DeepLiftShap,
    "guided_backprop": GuidedBackprop,
    "deconvolution": Deconvolution,
    "lrp": Lrp,
    "occlusion": Occlusion,
    "feature_ablation": FeatureAblation,
    "rise": Rise,
    "shapley_sampling": ShapleySampling,
    "kernel_shap": KernelShap,
    "lime": Lime,
    "grad_cam": GradCam,
    "grad_cam_plus_plus": GradCamPlusPlus,
    "hirescam": HiResCam,
    "layercam": LayerCam,
    "eigencam": EigenCam,
    "score_cam": ScoreCam,
    "guided_grad_cam": GuidedGradCam,
    # controls
    "random": Random,
    "image": Image,
    "edges": Edges,
}
