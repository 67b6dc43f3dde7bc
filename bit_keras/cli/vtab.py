"""Measure transfer on VTAB-1k: 19 tasks, a thousand examples of each.

bit-keras vtab --model bit_m_r50x1 [--tasks all | natural,clevr-count] [--flags]
bit-keras vtab --check_data [--data_dir FOLDER]

The second one tells which sets are there. The first one, again, goes on where it was
stopped.
"""

import functools
import json
import sys

import keras
from absl import flags

from bit_keras.cli.common import (
    define_data_dir_flag,
    define_json_flag,
    define_manual_dir_flag,
    define_models_flag,
    define_overwrite_flag,
    named_models,
    parse_numbers,
    print_table,
    refuse_arguments,
)
from bit_keras.cli.training import PRECISIONS, define_start_flags
from bit_keras.errors import InputError
from bit_keras.evaluation.vtab import GROUPS, choose_tasks
from bit_keras.evaluation.vtab_data import check_data
from bit_keras.workflows.vtab import vtab
from bit_keras.workflows.vtab_options import RATES, STEPS

# Of `VtabOptions`: the least possible value and what it is.
COUNTS = {
    "seeds": (1, "Number of runs of each task."),
    "steps": (1, "Steps of the fine-tuning; warm-up and decays change in proportion."),
    "batch_size": (
        1,
        "Images in a step of it; the learning rate changes in proportion.",
    ),
    "image_size": (32, "Pixels that images are cropped to. By default 480, or 128."),
}


def define_flags(values):
    """Defines the flags of this command."""
    define_models_flag(values, required=False)
    flags.DEFINE_list(
        "tasks",
        ["all"],
        f"Tasks, or groups of them ({', '.join(GROUPS)}), or all, with commas between.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "check_data",
        False,
        "Only tell which sets are there, and how to get the others.",
        flag_values=values,
    )
    define_data_dir_flag(values)
    define_manual_dir_flag(values)
    flags.DEFINE_bool(
        "skip_missing",
        False,
        "Leave out the sets that are not there. By default they are downloaded first.",
        flag_values=values,
    )
    for name, (least, text) in COUNTS.items():
        flags.DEFINE_integer(
            name,
            1 if name == "seeds" else None,
            text,
            lower_bound=least,
            flag_values=values,
        )
    flags.DEFINE_bool(
        "search",
        False,
        "Choose learning rate and steps of each task on 800 and 200 of its examples. "
        "By default those of the HyperRule are taken.",
        flag_values=values,
    )
    for name, default, what in (
        ("rates", RATES, "Learning rates"),
        ("search_steps", STEPS, "Numbers of steps"),
    ):
        texts = [f"{value:g}" for value in default]
        flags.DEFINE_list(name, texts, f"{what} of the search.", flag_values=values)
    define_start_flags(values)
    flags.DEFINE_string(
        "out_dir",
        "runs/vtab",
        "Folder for the report and the finished runs.",
        flag_values=values,
    )
    define_overwrite_flag(values)
    define_json_flag(values)


def run(values, arguments):
    """Looks for the sets, or evaluates all models on all tasks and prints the means."""
    refuse_arguments(arguments)
    if values.check_data:
        _check_data(values)
        return
    if not values.model:
        raise InputError(
            "Give --model, or --check_data to see which sets are there. Received: no "
            "model"
        )
    keras.config.set_dtype_policy(PRECISIONS[values.precision])
    say = functools.partial(print, file=sys.stderr if values.json else sys.stdout)
    report = vtab(
        named_models(values.model),
        values.tasks,
        values.out_dir,
        search=values.search,
        rates=parse_numbers("rates", values.rates, float),
        search_steps=parse_numbers("search_steps", values.search_steps, int),
        data_dir=values.data_dir,
        manual_dir=values.manual_dir,
        skip_missing=values.skip_missing,
        batch_split=values.batch_split,
        remat=values.remat,
        weights=values.weights,
        overwrite=values.overwrite,
        say=say,
        **{name: values[name].value for name in COUNTS},
    )
    if values.json:
        print(json.dumps(report, indent=2))
        return
    rows = [
        (model, *map(_describe_mean, means.values()))
        for model, means in report["means"].items()
    ]
    print()
    print_table([("Model", "all 19", *GROUPS), *rows])


def _check_data(values):
    rows = check_data(choose_tasks(values.tasks), values.data_dir)
    if values.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        where = f" {row['version']} in {row['folder']}" if row["folder"] else ""
        advice = f": {row['advice']}" if row["advice"] else ""
        print(f"{row['dataset']}: {row['state']}{where}{advice}")
    ready = sum(row["state"] == "ready" for row in rows)
    print(f"{ready} of {len(rows)} sets are ready.")


def _describe_mean(mean):
    return "–" if mean is None else f"{100 * mean:.1f} %"
