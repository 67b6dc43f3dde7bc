"""Fine-tune a model on images: model, SavedModel, report and pictures.

bit-keras finetune [--model bit_m_r50x1] [--dataset cifar10 | FOLDER] [--flags]

Without flags: the smallest BiT on the bundled doodles, with a light setting.
"""

import functools
import pathlib
import sys

import keras
from absl import flags

from bit_keras.cli.common import (
    define_data_flags,
    define_json_flag,
    define_model_flag,
    define_overwrite_flag,
    describe_share,
    refuse_arguments,
)
from bit_keras.data.sources import open_source
from bit_keras.workflows.finetune import choose_recipe, finetune
from bit_keras.workflows.folders import check_folder, free_folder
from bit_keras.workflows.models import open_start_model

DEFAULT_MODEL = "bit_t_r26x05"
# The least possible value and what it is.
SIZES = {
    "batch_size": (1, "Images in a step; the learning rate changes in proportion."),
    "steps": (1, "Number of steps; warm-up and decays change in proportion."),
    "resize": (32, "Pixels that training images are resized to before the crop."),
    "crop": (32, "Pixels of the random crop, and of images in evaluation."),
}


def define_flags(values):
    """Defines the flags of this command."""
    define_model_flag(values, DEFAULT_MODEL)
    flags.DEFINE_string(
        "weights",
        None,
        "For a preset: a weight file, or `none` for random weights. By default the "
        "published weights, downloaded once.",
        flag_values=values,
    )
    define_data_flags(values)
    flags.DEFINE_enum(
        "recipe",
        "auto",
        ["auto", "hyperrule", "light"],
        "The BiT-HyperRule, or a light setting of it with small batches, small images "
        "and few steps. `auto` is `light` on a machine without a GPU or TPU.",
        flag_values=values,
    )
    for name, (least, text) in SIZES.items():
        flags.DEFINE_integer(name, None, text, lower_bound=least, flag_values=values)
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of weights, order, crops, flips and MixUp.",
        lower_bound=0,
        upper_bound=2**32 - 1,
        flag_values=values,
    )
    flags.DEFINE_string(
        "out_dir",
        None,
        "Folder for the results. By default a new one, runs/MODEL-DATASET.",
        flag_values=values,
    )
    define_overwrite_flag(values)
    define_json_flag(values)


def run(values, arguments):
    """Fine-tunes, saying what it does and where it leaves the results."""
    refuse_arguments(arguments)
    # A program reads the result from standard output, so people's lines go elsewhere.
    say = functools.partial(print, file=sys.stderr if values.json else sys.stdout)
    keras.utils.set_random_seed(values.seed)
    if values.out_dir:  # Before there is anything to wait for.
        check_folder(values.out_dir, values.overwrite)
    source = open_source(values.dataset, values.data_dir)
    model, from_scratch = open_start_model(
        values.model, source.num_classes, values.weights
    )
    origin = f"the weights of {values.weights or values.model}"
    start = "random weights" if from_scratch else origin
    recipe = choose_recipe(
        source,
        values.recipe,
        from_scratch=from_scratch,
        **{name: values[name].value for name in SIZES},
    )
    name = f"{pathlib.Path(values.model).stem}-{source.name}"
    out_dir = values.out_dir or free_folder(pathlib.Path("runs", name))
    say(
        f"{model.backbone.architecture.name}, {model.count_params() / 1e6:.1f} M "
        f"parameters, {start}"
    )
    say(
        f"{source.name}: {source.num_classes} classes, {source.train.num_examples:,} "
        f"images to train on, {source.test.num_examples:,} to test on"
    )
    say(recipe.describe())
    result = finetune(
        model,
        source,
        recipe,
        out_dir,
        seed=values.seed,
        overwrite=values.overwrite,
        say=say,
        notes=[f"Started from {start}."],
    )
    evaluation = result.evaluation
    say(f"Accuracy: {describe_share(evaluation.num_correct, evaluation)} test images")
    if values.json:
        print((result.out_dir / "report.json").read_text(encoding="utf-8"))
