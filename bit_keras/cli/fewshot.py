"""Learn from a few examples of each class: linear probe and fine-tuning.

bit-keras fewshot --model bit_m_r50x1[,RUN_FOLDER] --datasets cifar10,mnist [--flags]

The same command again goes on where it was stopped.
"""

import functools
import json
import sys

import keras
from absl import flags

from bit_keras.cli.common import (
    define_data_dir_flag,
    define_json_flag,
    define_models_flag,
    define_overwrite_flag,
    named_models,
    parse_numbers,
    print_table,
    refuse_arguments,
)
from bit_keras.cli.training import PRECISIONS, define_start_flags
from bit_keras.evaluation.fewshot import L2
from bit_keras.evaluation.fewshot_report import tabulate
from bit_keras.workflows.fewshot import fewshot
from bit_keras.workflows.fewshot_options import METHODS, SEEDS, SHOTS


def define_flags(values):
    """Defines the flags of this command."""
    define_models_flag(values, required=True)
    flags.DEFINE_list(
        "datasets",
        ["doodles"],
        "TFDS names, folders with a sub-folder of images for each class, or the "
        "bundled `doodles`, with commas between them.",
        flag_values=values,
    )
    define_data_dir_flag(values)
    flags.DEFINE_list(
        "shots",
        list(map(str, SHOTS)),
        "Numbers of examples of each class. A set leaves out those it has too few "
        "images for.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "seeds",
        SEEDS,
        "Number of subsets of each size.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "method",
        "both",
        METHODS,
        "A linear probe on frozen features, fine-tuning of all weights, or both.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "l2",
        [f"{L2:g}"],
        "Strengths of the probe's regularization.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "recipe",
        "auto",
        ["auto", "hyperrule", "hyperrule_paper", "light"],
        "Of the fine-tuning: the BiT-HyperRule, as its code or as the paper's text, or "
        "a light setting of it. `auto` is `light` on a machine without a GPU or TPU.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "steps",
        None,
        "Steps of the fine-tuning; warm-up and decays change in proportion.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "batch_size",
        None,
        "Images in a step of it; the learning rate changes in proportion.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "image_size",
        None,
        "Pixels that images are resized to, for both methods. By default the recipe's: "
        "128, or 480 for large images; in the light setting 64, or 32 from random "
        "weights.",
        lower_bound=32,
        flag_values=values,
    )
    define_start_flags(values)
    flags.DEFINE_string(
        "out_dir",
        "runs/fewshot",
        "Folder for the report, the finished runs and the features.",
        flag_values=values,
    )
    define_overwrite_flag(values)
    define_json_flag(values)


def run(values, arguments):
    """Evaluates all models on all sets and prints a table for each set."""
    refuse_arguments(arguments)
    keras.config.set_dtype_policy(PRECISIONS[values.precision])
    say = functools.partial(print, file=sys.stderr if values.json else sys.stdout)
    report = fewshot(
        named_models(values.model),
        values.datasets,
        values.out_dir,
        shots=parse_numbers("shots", values.shots, int),
        seeds=values.seeds,
        method=values.method,
        data_dir=values.data_dir,
        image_size=values.image_size,
        recipe=values.recipe,
        steps=values.steps,
        batch_size=values.batch_size,
        l2=parse_numbers("l2", values.l2, float),
        batch_split=values.batch_split,
        remat=values.remat,
        weights=values.weights,
        overwrite=values.overwrite,
        say=say,
    )
    if values.json:
        print(json.dumps(report, indent=2))
        return
    for name, heads, rows in tabulate(report["results"]):
        print(f"\n{name}: accuracy by examples per class")
        print_table([heads, *rows])
