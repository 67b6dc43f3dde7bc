"""The pictures of a report."""

import pathlib

import numpy as np

from bit_keras.evaluation import plots
from bit_keras.evaluation.accuracy import MAX_CONFUSION_CLASSES
from bit_keras.evaluation.examples import (
    choose_confused,
    choose_examples,
    pick_images,
)
from bit_keras.evaluation.report_document import MAX_CONFUSION_ROWS
from bit_keras.evaluation.thumbnails import write_thumbnails


def write_pictures(
    out_dir, evaluation, batches=None, *, history=None, count=30, seed=0
):
    """Draws the pictures of a run, as far as there is something to draw.

    Args:
        out_dir: Folder for the PNG files; it is made where it is missing.
        evaluation: `Evaluation` of the images.
        batches: The evaluated `tf.data.Dataset`, in the same order; with it a sheet of
            images is drawn (`predictions.png`).
        history: What `learning_curve` takes; with it the curve is drawn
            (`learning_curve.png`).
        count: Number of images on the sheet.
        seed: Seed for the choice of images.

    Returns:
        A pair (pictures, examples), as `write_report` takes them: a mapping of captions
        to paths, and lists of small images of the most frequent confusions. The
        confusion matrix (`confusion_matrix.png`) is among the pictures unless there are
        more than 1000 classes; without `batches` there are no examples.
    """
    out_dir, pictures = pathlib.Path(out_dir), {}
    if history:
        pictures["Learning curve"] = out_dir / "learning_curve.png"
        plots.learning_curve(history, pictures["Learning curve"])
    if evaluation.num_classes <= MAX_CONFUSION_CLASSES:
        pictures["Confusion matrix"] = out_dir / "confusion_matrix.png"
        plots.confusion_matrix(evaluation, pictures["Confusion matrix"])
    pictures["Calibration"] = out_dir / "calibration.png"
    plots.reliability_diagram(evaluation, pictures["Calibration"])
    if batches is None:
        return pictures, []
    chosen = choose_examples(evaluation, count, seed)
    confused = choose_confused(evaluation, MAX_CONFUSION_ROWS)
    # All at once, since each pass decodes images anew.
    images = _pick_by_number(batches, [chosen, *confused])
    caption = "Predictions: first the surest errors, then right ones at random"
    pictures[caption] = out_dir / "predictions.png"
    _draw_sheet(evaluation, chosen, images, pictures[caption])
    confidences = evaluation.confidences
    return pictures, [
        write_thumbnails(out_dir, {n: images[n] for n in numbers}, confidences)
        for numbers in confused
    ]


def _pick_by_number(batches, choices):
    """Returns the images of several choices of examples by the examples' numbers."""
    numbers = np.unique(np.concatenate(choices))
    return dict(zip(numbers, pick_images(batches, numbers), strict=True))


def _draw_sheet(evaluation, chosen, images, path):
    plots.prediction_sheet(
        [images[number] for number in chosen],
        evaluation.labels[chosen],
        evaluation.predictions[chosen],
        evaluation.confidences[chosen],
        evaluation.class_names,
        path,
    )
