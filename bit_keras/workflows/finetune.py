"""Fine-tuning from data to report."""

import contextlib
import dataclasses
import functools
import pathlib
import time

import tensorflow as tf

from bit_keras.data.load import eval_batches, rule_for, train_batches
from bit_keras.data.sources import naming_unreadable, open_source
from bit_keras.errors import InputError
from bit_keras.evaluation import (
    Evaluation,
    evaluate_model,
    write_pictures,
    write_report,
)
from bit_keras.export.saved_model import export_saved_model
from bit_keras.files import replaced
from bit_keras.recipes.hyperrule import HyperRule
from bit_keras.training.finetune import train
from bit_keras.workflows.folders import MODEL_FILE, SAVED_MODEL_FOLDER, prepare_folder
from bit_keras.workflows.models import check_fit
from bit_keras.workflows.summaries import describe_model, describe_source


@dataclasses.dataclass(frozen=True)
class Finetuned:
    """What fine-tuning has left.

    Args:
        out_dir: Folder with the model, the SavedModel, the report and its pictures.
        evaluation: `Evaluation` of all test images by the final model.
        history: Loss, accuracy and learning rate in the course of training.
        timings: Seconds of each part.
    """

    out_dir: pathlib.Path
    evaluation: Evaluation
    history: dict
    timings: dict


def finetune(
    model,
    dataset,
    recipe=None,
    out_dir="runs/finetuned",
    *,
    data_dir=None,
    seed=0,
    overwrite=False,
    progress=True,
    say=lambda line: None,
    notes=(),
):
    """Fine-tunes a model on a set of images, evaluates, saves, exports and reports.

    Args:
        model: A `BiTClassifier` with as many classes as the set has.
        dataset: As in `load_dataset`: the name of a TFDS set, a folder of classes,
            arrays, `"doodles"`, or a `Source`.
        recipe: A `HyperRule`, or `None` for the rule of this set.
        out_dir: The folder to fill; it must be empty or not there yet.
        data_dir: Folder where TFDS keeps its sets.
        seed: Seed of order, crops, flips and MixUp.
        overwrite: Whether a folder that is not empty is used all the same.
        progress: Whether to show progress bars.
        say: Called with a line about each thing that is written.
        notes: Sentences for the report.

    Returns:
        A `Finetuned`. The folder holds `model.keras`, `saved_model/` (images in [0, 1]
        to logits), `report.json`, `report.md` and three pictures.

    Raises:
        InputError: If the set, the recipe, the model and the folder do not fit.
        RunError: If the loss stops being a number, or a file cannot be written.

    Example:

    >>> model = BiTClassifier.from_preset("bit_m_r50x1", num_classes=10)
    >>> finetune(model, "cifar10", out_dir="runs/cifar10").evaluation.top1
    """
    source = open_source(dataset, data_dir)
    recipe = recipe or rule_for(source)
    if not isinstance(recipe, HyperRule):
        raise InputError(f"`recipe` must be a HyperRule. Received: {recipe!r}")
    check_fit(model, source, f"call model.reset_head({source.num_classes}) first")
    out_dir = prepare_folder(out_dir, overwrite)
    model.class_names = list(source.class_names)
    model.image_size = recipe.crop

    timings = {}
    test = eval_batches(source, source.test, recipe.crop)
    with timed(timings, "training"), naming_unreadable(source.train, source.test):
        history = train(
            model,
            train_batches(source, recipe, seed),
            test,
            recipe,
            num_test_examples=source.test.num_examples,
            progress=progress,
        )
    with replaced(out_dir / MODEL_FILE) as temporary:
        model.save(temporary)
    say(f"Model: {out_dir / MODEL_FILE}")
    with timed(timings, "evaluation"):
        evaluation = evaluate_model(model, test, source.class_names, progress)
    with timed(timings, "SavedModel"):
        export_saved_model(
            model, out_dir / SAVED_MODEL_FOLDER, "logits", overwrite=overwrite
        )
    say(f"SavedModel, images in [0, 1] to logits: {out_dir / SAVED_MODEL_FOLDER}")
    with timed(timings, "pictures"):
        pictures = write_pictures(out_dir, evaluation, test, history=history, seed=seed)
    for caption, path in pictures.items():
        say(f"{caption.split(':')[0]}: {path}")
    _, report = write_report(
        out_dir,
        title=f"{model.backbone.architecture.name} fine-tuned on {source.name}",
        model_summary=describe_model(model),
        data=describe_source(source),
        recipe={"setting": recipe.describe(), **recipe.to_dict()},
        evaluation=evaluation,
        history=history,
        timings=timings,
        pictures=pictures,
        seed=seed,
        notes=notes,
    )
    say(f"Report: {report}")
    return Finetuned(out_dir, evaluation, history, timings)


def choose_recipe(source, setting="auto", from_scratch=False, **changes):
    """Returns the recipe for a set of images.

    Args:
        source: A `Source`.
        setting: `"hyperrule"`; `"light"`, a setting for two CPU cores; or `"auto"`,
            which is `"light"` on a machine without a GPU or TPU.
        from_scratch: Whether the weights are random; for the light setting.
        **changes: Of `HyperRule.scaled`.

    Returns:
        A `HyperRule`.
    """
    if setting == "auto":
        accelerated = any(
            device.device_type != "CPU" for device in tf.config.list_physical_devices()
        )
        setting = "hyperrule" if accelerated else "light"
    rule = HyperRule
    if setting == "light":
        rule = functools.partial(HyperRule.light, from_scratch=from_scratch)
    return rule_for(source, rule).scaled(**changes)


@contextlib.contextmanager
def timed(timings, part):
    """Notes in `timings` how many seconds its body takes."""
    start = time.perf_counter()
    yield
    timings[part] = round(time.perf_counter() - start, 1)
