"""Flags and steps that the commands which train share."""

import dataclasses
import functools
import sys

import keras
from absl import flags

from bit_keras import compile_cache
from bit_keras.cli.common import (
    define_data_flags,
    define_json_flag,
    define_manual_dir_flag,
    define_overwrite_flag,
    describe_share,
)
from bit_keras.data.sources import open_source
from bit_keras.training.strategies import STRATEGIES, make_strategy
from bit_keras.workflows.folders import check_folder
from bit_keras.workflows.training import RunOptions

PRECISIONS = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
# Of `Recipe.scaled`: the least possible value and what it is.
SCALES = {
    "batch_size": (1, "Images in a step; the learning rate changes in proportion."),
    "steps": (1, "Number of steps; warm-up and decays change in proportion."),
    "warmup_steps": (0, "Steps of the warm-up."),
    "resize": (32, "Pixels that training images are resized to before the crop."),
    "crop": (32, "Pixels of the crop, and of images in evaluation."),
}
# Fields of the recipe, and what they are. By default the recipe's own.
CHOICES = {
    "momentum_form": "Where the momentum has the learning rate: outside of its buffer, "
    "as the paper, or inside, as Keras.",
    "cropping": "How training images are cropped.",
    "flip": "Whether training images are mirrored; the published TensorFlow and JAX "
    "code does so always.",
    "mixup_partner": "Which example of a batch each one is mixed with.",
}
WORDS = {
    "momentum_form": ["outside", "inside"],
    "cropping": ["random", "inception", "none"],
    "flip": ["random", "always", "none"],
    "mixup_partner": ["reversal", "roll", "permutation"],
}
# Of `open_source`, for TFDS sets.
SPLITS = {
    "train_split": "TFDS split to train on. By default `train`.",
    "test_split": "TFDS split to test on. By default `test` or `validation`.",
}
# Of `RunOptions`: the least possible value and what it is.
COUNTS = {
    "batch_split": (
        1,
        "Parts that a device computes its share of a batch in, one after another, to "
        "save memory.",
    ),
    "steps_per_execution": (1, "Steps between two looks at the run."),
    "checkpoint_steps": (
        1,
        "Steps between checkpoints, beside that after each epoch. By default there is "
        "one whenever ten minutes have passed.",
    ),
    "keep_checkpoints": (1, "Number of the latest checkpoints that are kept."),
    "max_bad_images": (
        0,
        "Images that may be left out because they cannot be read.",
    ),
}
SWITCHES = {
    "remat": "Compute the inside of each residual unit anew for the gradients, to save "
    "memory.",
    "tensorboard": "Write scalars and augmented images for TensorBoard.",
}


def define_training_flags(values):
    """Defines the flags about data, recipe, devices and results."""
    define_data_flags(values)
    for name, text in SPLITS.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    define_manual_dir_flag(values)
    flags.DEFINE_integer(
        "examples_per_class",
        None,
        "Train on so many images of each class alone.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "subset_seed",
        0,
        "Seed of the choice of these.",
        lower_bound=0,
        flag_values=values,
    )
    for name, (least, text) in SCALES.items():
        flags.DEFINE_integer(name, None, text, lower_bound=least, flag_values=values)
    for name, text in CHOICES.items():
        flags.DEFINE_enum(name, None, WORDS[name], text, flag_values=values)
    flags.DEFINE_float(
        "mixup_alpha",
        None,
        "Strength of MixUp, 0 for none. By default the recipe's.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "strategy",
        "auto",
        STRATEGIES,
        "Devices to train on: `mirrored` for all GPUs, `multi_worker` for the cluster "
        "of TF_CONFIG, `tpu`. `auto` takes what it finds.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "tpu", None, "Name or address of a TPU, or `local`.", flag_values=values
    )
    define_precision_flag(
        values,
        "Numbers to compute with; weights, statistics, head and loss stay in float32.",
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of weights, order, crops, flips and MixUp.",
        lower_bound=0,
        upper_bound=2**32 - 1,
        flag_values=values,
    )
    for name, (least, text) in COUNTS.items():
        default = getattr(RunOptions, name)
        flags.DEFINE_integer(name, default, text, lower_bound=least, flag_values=values)
    for name, text in SWITCHES.items():
        flags.DEFINE_bool(name, False, text, flag_values=values)
    flags.DEFINE_string(
        "out_dir",
        None,
        "Folder for the results. By default a new one, runs/MODEL-DATASET. A run that "
        "was stopped goes on where it stopped.",
        flag_values=values,
    )
    define_overwrite_flag(values)
    define_json_flag(values)


def define_precision_flag(values, text):
    """Defines `--precision`, with a text on what it is for."""
    flags.DEFINE_enum(
        "precision", "float32", list(PRECISIONS), text, flag_values=values
    )


def define_memory_flags(values):
    """Defines the flags that save memory in training."""
    least, text = COUNTS["batch_split"]
    flags.DEFINE_integer("batch_split", 1, text, lower_bound=least, flag_values=values)
    flags.DEFINE_bool("remat", False, SWITCHES["remat"], flag_values=values)


def define_start_flags(values):
    """Defines the flags of commands that fine-tune several models."""
    flags.DEFINE_enum(
        "weights",
        None,
        ["none"],
        "For presets: `none` for random weights.",
        flag_values=values,
    )
    define_precision_flag(
        values, "Numbers to compute with, for presets and weight files."
    )
    define_memory_flags(values)


def prepare(values):
    """Sets seed and precision, and opens the set of images.

    Returns:
        The strategy to make the model under, and the `Source`.
    """
    # First of all: with several workers, nothing may have been computed before.
    strategy = make_strategy(values.strategy, values.tpu)
    keras.utils.set_random_seed(values.seed)
    keras.config.set_dtype_policy(PRECISIONS[values.precision])
    if values.out_dir:  # Before there is anything to wait for.
        check_folder(values.out_dir, values.overwrite)
    source = open_source(
        values.dataset,
        values.data_dir,
        examples_per_class=values.examples_per_class,
        subset_seed=values.subset_seed,
        **{name: values[name].value for name in SPLITS},
        manual_dir=values.manual_dir,
    )
    return strategy, source


def scales(values):
    """Returns the flags that are arguments of `Recipe.scaled`."""
    return {name: values[name].value for name in SCALES}


def changed(recipe, values):
    """Returns the recipe with the fields that were given as flags."""
    names = {field.name for field in dataclasses.fields(recipe)}
    given = {name: values[name].value for name in (*CHOICES, "mixup_alpha")}
    given = {
        name: value
        for name, value in given.items()
        if value is not None and name in names
    }
    return dataclasses.replace(recipe, **given)


def carry_out(job, model, source, recipe, values, *, start, name, teacher=None):
    """Runs a job such as `finetune`, saying what it does and what has come of it.

    Args:
        job: `finetune` or `pretrain`.
        model: The `BiTClassifier`.
        source: The `Source`.
        recipe: The recipe.
        values: The flags.
        start: What weights it starts from.
        name: Name of the folder in `runs`, where none was given.
        teacher: Model to learn from, or `None`.
    """
    # A program reads the result from standard output, so people's lines go elsewhere.
    say = functools.partial(print, file=sys.stderr if values.json else sys.stdout)
    say(
        f"{model.backbone.architecture.name}, {model.count_params() / 1e6:.1f} M "
        f"parameters, {start}"
    )
    say(
        f"{source.name}: {source.num_classes} classes, {source.train.num_examples:,} "
        f"images to train on, {source.test.num_examples:,} to test on"
    )
    say(recipe.describe())
    if compile_cache.FOLDER:
        say(f"What XLA compiles is kept in {compile_cache.FOLDER}")
    if (replicas := model.distribute_strategy.num_replicas_in_sync) > 1:
        say(f"{replicas} devices, {recipe.batch_size // replicas} images on each")
    result = job(
        model,
        source,
        recipe,
        values.out_dir,
        name=name,
        seed=values.seed,
        overwrite=values.overwrite,
        notes=[f"Started from {start}."],
        teacher=teacher,
        say=say,
        **{option: values[option].value for option in (*COUNTS, *SWITCHES)},
    )
    if result is None:
        say("Done; the first worker writes the results.")
        return
    evaluation = result.evaluation
    say(f"Accuracy: {describe_share(evaluation.num_correct, evaluation)} test images")
    if values.json:
        print((result.out_dir / "report.json").read_text(encoding="utf-8"))
