"""What a model is evaluated on, and how its classes are those of the images."""

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Callable

import tensorflow as tf

from bit_keras.assets.label_maps import are_same_classes
from bit_keras.data.folders import read_test_folder
from bit_keras.data.imagenet_variants import (
    NUM_CLASSES,
    find_variant,
    open_variant,
    right_classes,
)
from bit_keras.data.load import eval_batches
from bit_keras.data.sources import open_source
from bit_keras.data.splits import Source
from bit_keras.evaluation import evaluate_model
from bit_keras.evaluation.class_maps import (
    ClassMap,
    MappedEvaluation,
    check_ilsvrc2012,
    evaluate_mapped,
    knows_any,
    map_by_name,
)
from bit_keras.workflows.models import check_fit, check_model


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """A set for a model.

    Args:
        source: A `Source`.
        class_map: A `ClassMap`, or `None` where the classes are those of the model.
        targets: Maps a label to the right classes of the model, with a `class_map`.
    """

    source: Source
    class_map: ClassMap | None = None
    targets: Callable | None = None

    def batches(self, part, image_size):
        """Returns the batches of a part of the source; see `eval_batches`."""
        batches = eval_batches(self.source, part, image_size, targets=self.targets)
        return batches if self.class_map is None else batches.map(_leave_out)

    def evaluate(self, model, batches, part, progress):
        """Returns the `Evaluation` of a model on the batches of a part."""
        if self.class_map is None:
            return evaluate_model(model, batches, self.source.class_names, progress)
        return evaluate_mapped(
            model, batches, self.class_map, part.num_examples, progress
        )


def _leave_out(images, right, weights):
    """Gives images without a right class the weight of what fills a batch up."""
    return images, right, weights * tf.reduce_max(right, axis=1)


def describe_counting(evaluation):
    """Returns sentences on how was counted, of a `MappedEvaluation` alone."""
    if not isinstance(evaluation, MappedEvaluation):
        return []
    sentences = [f"The model chooses among {evaluation.num_choices:,} classes."]
    if evaluation.correct_of_all is not None:
        total = evaluation.num_examples
        sentences.append(
            f"Among all of its classes: {evaluation.correct_of_all:,} of {total:,} "
            f"right, and {evaluation.correct_top5_of_all:,} among the five likeliest."
        )
    if evaluation.num_left_out:
        sentences.append(
            f"{evaluation.num_left_out:,} images without a right class are left out."
        )
    return sentences


def open_evaluation_set(model, dataset, data_dir=None, manual_dir=None):
    """Opens a set for a model.

    Args:
        model: A `BiTClassifier`.
        dataset: As in `evaluate`.
        data_dir: As in `evaluate`.
        manual_dir: As in `evaluate`.

    Returns:
        An `EvaluationSet`.

    Raises:
        InputError: If the set and the model do not fit.
        RunError: If TFDS cannot download or prepare the set.
    """
    check_model(model)
    if variant := find_variant(dataset):
        check_ilsvrc2012(model, variant)
        opened = open_variant(dataset, data_dir, manual_dir)
        if opened.rows is None:
            return EvaluationSet(opened.source)
        class_map = ClassMap(opened.rows, NUM_CLASSES, opened.among)
        return EvaluationSet(opened.source, class_map, opened.targets)
    return _by_name(model, dataset) or _of_all_classes(
        model, open_source(dataset, data_dir, manual_dir=manual_dir)
    )


def _by_name(model, dataset):
    """Returns a folder of some of ImageNet's classes, `None` if it is no such one."""
    if not isinstance(dataset, str | os.PathLike):
        return None
    folder = pathlib.Path(dataset).expanduser()
    if not (str(dataset) and folder.is_dir()):
        return None
    source = read_test_folder(folder)
    if source.num_classes == model.num_classes:
        return None
    if not knows_any(model, source.class_names):
        return None
    class_map = map_by_name(model, source.class_names)
    targets = right_classes(class_map.rows, model.num_classes)
    return EvaluationSet(source, class_map, targets)


def _of_all_classes(model, source):
    check_fit(model, source, "evaluate it on the set that it was fine-tuned on")
    names = model.class_names
    if names and not are_same_classes(names, source.class_names):
        pairs = zip(names, source.class_names, strict=True)
        ours, theirs = next((a, b) for a, b in pairs if a != b)
        warnings.warn(
            f"The class names of the model and of {source.name} differ, first "
            f"`{ours}` and `{theirs}`; they are compared by their place.",
            stacklevel=4,
        )
    return EvaluationSet(source)
