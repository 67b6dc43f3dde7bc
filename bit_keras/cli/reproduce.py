"""Fill a published table of transfer anew, as far as weights and data are there.

bit-keras reproduce table1 | table2 | fewshot | vtab [--plan_only] [--flags]

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
    define_manual_dir_flag,
    define_overwrite_flag,
)
from bit_keras.cli.training import (
    PRECISIONS,
    define_memory_flags,
    define_precision_flag,
)
from bit_keras.errors import InputError
from bit_keras.evaluation.paper_tables import MEASURED_IMAGES_PER_SECOND, TABLES
from bit_keras.workflows.reproduce import reproduce


def define_flags(values):
    """Defines the flags of this command."""
    flags.DEFINE_list(
        "only",
        [],
        "Experiments, or beginnings of their names such as m-r50x1-cifar10, with "
        "commas between them. By default all of the table.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "plan_only",
        False,
        "Only list the runs, the figures to expect and the hours.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "weights_dir",
        None,
        "Folder with weight files by their published names, such as BiT-M-R50x1.npz.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "download",
        False,
        "Download weights and sets that are not there.",
        flag_values=values,
    )
    define_data_dir_flag(values)
    define_manual_dir_flag(values)
    flags.DEFINE_float(
        "images_per_second",
        MEASURED_IMAGES_PER_SECOND,
        "For the estimate of hours: how many images of 224 pixels this machine trains "
        "R50x1 with, as `bit-keras benchmark` measures. By default that of an H100.",
        flag_values=values,
    )
    define_precision_flag(values, "Numbers to compute with.")
    define_memory_flags(values)
    flags.DEFINE_string(
        "out_dir",
        None,
        "Folder for the report and the runs. By default runs/TABLE.",
        flag_values=values,
    )
    define_overwrite_flag(values)
    define_json_flag(values)


def run(values, arguments):
    """Carries out what can be, and prints published and reproduced figures."""
    if len(arguments) != 1:
        raise InputError(
            f"Give one table: {', '.join(TABLES)}. Received: "
            f"{' '.join(arguments) or 'none'}"
        )
    [table] = arguments
    keras.config.set_dtype_policy(PRECISIONS[values.precision])
    report = reproduce(
        table,
        values.out_dir or f"runs/{table}",
        only=tuple(values.only),
        plan_only=values.plan_only,
        weights_dir=values.weights_dir,
        download=values.download,
        data_dir=values.data_dir,
        manual_dir=values.manual_dir,
        images_per_second=values.images_per_second,
        batch_split=values.batch_split,
        remat=values.remat,
        overwrite=values.overwrite,
        say=functools.partial(print, file=sys.stderr if values.json else sys.stdout),
    )
    if values.json:
        print(json.dumps(report, indent=2))
