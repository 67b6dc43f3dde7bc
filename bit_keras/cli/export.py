"""Write a model as a SavedModel, checked against the model before it is kept.

bit-keras export MODEL [--out_dir FOLDER] [--flags]

MODEL is a preset, a .keras file, the folder of a run, or a published weight file.
"""

import pathlib

from absl import flags

from bit_keras.cli.common import define_overwrite_flag
from bit_keras.errors import InputError
from bit_keras.export.forward import OUTPUTS
from bit_keras.export.saved_model import export_saved_model
from bit_keras.workflows.folders import SAVED_MODEL_FOLDER
from bit_keras.workflows.models import open_model

RANGES = {"0,1": (0, 1), "-1,1": (-1, 1), "uint8": "uint8"}


def define_flags(values):
    """Defines the flags of this command."""
    flags.DEFINE_string(
        "out_dir",
        None,
        "Folder to write. By default exports/MODEL/saved_model.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "outputs", "features", OUTPUTS, "What it returns.", flag_values=values
    )
    flags.DEFINE_enum(
        "input_range",
        "0,1",
        list(RANGES),
        "Range of the float images that it takes.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "weights",
        "published",
        "For a preset: a weight file, or `none`.",
        flag_values=values,
    )
    define_overwrite_flag(values)


def run(values, arguments):
    """Exports and says where."""
    if len(arguments) != 1:
        raise InputError(
            f"`export` takes one MODEL. Received: {' '.join(arguments) or 'none'}"
        )
    name = pathlib.Path(arguments[0]).stem
    path = export_saved_model(
        open_model(arguments[0], weights=values.weights),
        values.out_dir or pathlib.Path("exports", name, SAVED_MODEL_FOLDER),
        values.outputs,
        RANGES[values.input_range],
        overwrite=values.overwrite,
    )
    print(f"SavedModel, images in [{values.input_range}] to {values.outputs}: {path}")
