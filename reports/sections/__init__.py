"""The sections of a report, in the reader's order: each makes one `Section` from an experiment."""

from __future__ import annotations

from collections.abc import Callable

from reports.document import Section
from reports.sections.agreement import agreement
from reports.sections.conflict import conflict
from reports.sections.cost import cost
from reports.sections.failures import failures
from reports.sections.gallery import gallery
from reports.sections.learning import learning
from reports.sections.localisation import localisation
from reports.sections.noise import noise
from reports.sections.predictions import predictions
from reports.sections.provenance import provenance
from reports.sections.reproduce import reproduce
from reports.sections.scores import scores
from reports.sections.trust import trust
from reports.sections.verdict import verdict
from reports.sections.ways import ways
from reports.sections.weights import weights
from reports.tables import Experiment
from reports.wording import Say

SECTIONS: tuple[Callable[[Experiment, Say], Section], ...] = (
    verdict, scores, noise, cost, learning, ways, conflict, weights, predictions, gallery, agreement, localisation,
    trust, failures, provenance, reproduce,
)  # fmt: skip
