"""Attribution metrics by name: each a frozen dataclass of options that declares its kind, direction and range.

============ ============================================================= ===========================================
kind         what an instance offers                                       what it gets
============ ============================================================= ===========================================
``"maps"``   ``values(maps [B, *S]) -> [B]``                               the maps of one task
``"mask"``   ``values(maps [B, *S], mask [B, H, W]) -> [B]``               and the mask of one task
``"model"``  ``__call__(subject, {(map, task): [B, *S]}) -> {same: [B]}``  the model and all maps, controls too
``"method"`` ``__call__(subject, {task: [B, *S]}) -> {task: [B]}``         the model and a method that explains again
============ ============================================================= ===========================================

Class attributes: ``kind``; ``higher_is_better``; ``range``, the lowest and the highest value there can be. A score that
is not defined is NaN. A metric of the kind ``"model"`` gets every map at once, so that perturbations that do not depend
on the map are scored once for all maps and tasks; ``subject`` is an `explain.metrics.subject.Subject`.
"""

from __future__ import annotations

from typing import Any

from explain.metrics.completeness import Completeness
from explain.metrics.complexity import EffectiveComplexity, Entropy, Gini
from explain.metrics.correlation import Infidelity, Monotonicity, SensitivityN
from explain.metrics.flipping import Deletion, Insertion, PixelFlipping
from explain.metrics.localisation import PointingGame, RelevanceMass, RelevanceRank, TopKIntersection
from explain.metrics.randomisation import ParameterRandomisation, RandomLogit
from explain.metrics.road import Road
from explain.metrics.robustness import LocalLipschitz, MaxSensitivity

METRICS: dict[str, type[Any]] = {
    # the model
    "deletion": Deletion,
    "insertion": Insertion,
    "pixel_flipping": PixelFlipping,
    "sensitivity_n": SensitivityN,
    "infidelity": Infidelity,
    "road": Road,
    "monotonicity": Monotonicity,
    "completeness": Completeness,
    # maps and masks
    "relevance_mass": RelevanceMass,
    "relevance_rank": RelevanceRank,
    "pointing_game": PointingGame,
    "topk_intersection": TopKIntersection,
    # maps
    "gini": Gini,
    "entropy": Entropy,
    "effective_complexity": EffectiveComplexity,
    # the method
    "max_sensitivity": MaxSensitivity,
    "local_lipschitz": LocalLipschitz,
    "parameter_randomisation": ParameterRandomisation,
    "random_logit": RandomLogit,
}
GROUPS: dict[str, tuple[str, ...]] = {"localisation": ("relevance_mass", "pointing_game")}
