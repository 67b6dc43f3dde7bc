"""Fine-tuning from data to report."""

import functools

import tensorflow as tf

from bit_keras.data.load import rule_for
from bit_keras.data.sources import open_source
from bit_keras.export.saved_model import export_saved_model
from bit_keras.recipes.hyperrule import HyperRule
from bit_keras.workflows.folders import SAVED_MODEL_FOLDER
from bit_keras.workflows.training import RunOptions, run_training


def finetune(
    model,
    dataset,
    recipe=None,
    out_dir=None,
    *,
    name=None,
    data_dir=None,
    seed=0,
    overwrite=False,
    notes=(),
    teacher=None,
    **options,
):
    """Fine-tunes a model on a set of images, evaluates, saves, exports and reports.

    A run that was stopped, by whatever, goes on where it stopped when it is started
    again in the same folder with the same model, set, recipe and seed.

    Args:
        model: A `BiTClassifier` with as many classes as the set has, made in the scope
            of the strategy to train under, if any.
        dataset: As in `load_dataset`: the name of a TFDS set, a folder of classes,
            arrays, `"doodles"`, or a `Source`.
        recipe: A recipe, or `None` for the HyperRule of this set.
        out_dir: The folder to fill. It must be empty, not there yet, or hold the same
            run, unfinished. By default the first such of `runs/MODEL-DATASET`,
            `runs/MODEL-DATASET-2`, ...
        name: In place of MODEL-DATASET in that.
        data_dir: Folder where TFDS keeps its sets.
        seed: Seed of order, crops, flips and MixUp.
        overwrite: Whether a folder that is not empty is used all the same.
        notes: Sentences for the report.
        teacher: For a `Distillation` recipe: a Keras model, images in [-1, 1] to logits
            of the same classes.
        **options: Of `RunOptions`, such as `batch_split` and `checkpoint_steps`.

    Returns:
        A `TrainingResult`. The folder holds `model.keras`, `saved_model/` (images in
        [0, 1] to logits), `report.html`, the same as `report.json` and `report.md`,
        `history.json` and four pictures. With several workers the chief alone gets and
        writes all that; the others get `None`.

    Raises:
        InputError: If the set, the recipe, the model and the folder do not fit.
        RunError: If the loss stops being a number, or a file cannot be written.
        Interrupted: After SIGINT or SIGTERM, once a checkpoint is written.

    Example:

    >>> model = BiTClassifier.from_preset("bit_m_r50x1", num_classes=10)
    >>> finetune(model, "cifar10", out_dir="runs/cifar10").evaluation.top1
    """
    options = RunOptions.of(options)
    source = open_source(dataset, data_dir)
    recipe = recipe or rule_for(source)

    def export(model, out_dir):
        path = out_dir / SAVED_MODEL_FOLDER
        export_saved_model(model, path, "logits", recipe=recipe, overwrite=True)
        options.say(f"SavedModel, images in [0, 1] to logits: {path}")

    return run_training(
        model,
        source,
        recipe,
        out_dir,
        export,
        what="fine-tuned",
        name=name,
        seed=seed,
        overwrite=overwrite,
        notes=notes,
        teacher=teacher,
        options=options,
    )


def choose_recipe(source, setting="auto", from_scratch=False, **changes):
    """Returns the recipe for a set of images.

    Args:
        source: A `Source`.
        setting: `"hyperrule"`, as the published code; `"hyperrule_paper"`, as the text
            of the paper; `"light"`, a setting for two CPU cores; or `"auto"`, which is
            `"light"` on a machine without a GPU or TPU, and else `"hyperrule"`.
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
    rules = {
        "hyperrule": HyperRule,
        "hyperrule_paper": functools.partial(HyperRule, variant="paper"),
        "light": functools.partial(HyperRule.light, from_scratch=from_scratch),
    }
    return rule_for(source, rules[setting]).scaled(**changes)
