"""What dense tasks predict for the first test pictures, beside the labels."""

from __future__ import annotations

import numpy as np

from reports.document import Card, Group, Picture, Section, Strip
from reports.pictures import image_png
from reports.tables import Experiment
from reports.wording import Say

MAX_CARDS = 20


def predictions(experiment: Experiment, say: Say) -> Section:
    """One run of each variant (the lowest seed), all on the same pictures."""
    heading = say("predictions.heading")
    runs = [experiment.of(variant)[0] for variant in experiment.variants if experiment.of(variant)]
    found = [(run.variant, run.predictions) for run in runs if run.predictions]
    if not found:
        return Section("predictions", heading, missing=say("predictions.missing"))
    images = found[0][1][""][0]
    kept = [(variant, own) for variant, own in found if np.array_equal(own[""][0], images)]
    others = {variant for variant, _ in found} - {variant for variant, _ in kept}
    notes = [say("predictions.other", variant=variant) for variant, _ in found if variant in others]
    count = min(len(images), MAX_CARDS)
    if count < len(images):
        notes.append(say("predictions.left_out", shown=count, of=len(images)))
    cards = [_card(images, kept, i, say) for i in range(count)]
    group = Group(say("predictions.group"), cards)
    return Section("predictions", heading, say("predictions.intro"), groups=[group], notes=notes)


def _card(images: np.ndarray, kept: list[tuple[str, dict[str, list[np.ndarray]]]], i: int, say: Say) -> Card:
    """One picture: the labels of its tasks, then what each variant predicts."""
    labels = {task: pair[1] for _, own in reversed(kept) for task, pair in own.items() if task}
    true = [
        _picture(label[i], task, say("predictions.alt_label", task=task, example=i))
        for task, label in labels.items()
    ]
    strips = [Strip(say("predictions.labels"), true)]
    for variant, own in kept:
        told = [
            _picture(own[task][0][i], task, say("predictions.alt", task=task, variant=variant, example=i))
            for task in labels
            if task in own
        ]
        strips.append(Strip(variant, told))
    image = _picture(images[i], say("gallery.input"), say("gallery.alt_input", example=i))
    return Card(say("gallery.example", example=i), image, strips)


def _picture(colours: np.ndarray, title: str, alt: str) -> Picture:
    height, width = colours.shape[:2]
    return Picture(image_png(colours.transpose(2, 0, 1)), width, height, "", title, "", alt)
