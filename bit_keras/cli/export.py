"""Write models for other programs, checked against the model before they are kept.

bit-keras export MODEL [--out_dir FOLDER] [--flags]
bit-keras export --all [--weights_dir FOLDER] [--flags]

MODEL is a preset, a .keras file, the folder of a run or of a SavedModel, or a published
weight file. --all exports every preset whose weights are on this machine, keeps what is
there, and downloads nothing.
"""

from absl import flags

from bit_keras.cli.common import define_overwrite_flag, refuse_arguments
from bit_keras.errors import InputError
from bit_keras.export.fold import STORED_DTYPES
from bit_keras.export.forward import OUTPUTS
from bit_keras.export.reusable import FORMS
from bit_keras.workflows.export import export, export_all
from bit_keras.workflows.export_jobs import FORMATS

RANGES = {"0,1": (0, 1), "-1,1": (-1, 1), "uint8": "uint8"}


def define_flags(values):
    """Defines the flags of this command."""
    flags.DEFINE_string(
        "out_dir",
        None,
        "Folder for all results. By default exports/m-r50x1 for the preset "
        "bit_m_r50x1, and exports/NAME for other models; with --all, what is exports/ "
        "in that.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "outputs", "features", OUTPUTS, "What it returns.", flag_values=values
    )
    flags.DEFINE_enum(
        "input_range",
        "0,1",
        list(RANGES),
        "Range of the float images that it takes, or uint8 for images of that dtype.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "form",
        "trainable",
        [*FORMS, "both"],
        "Of SavedModels: to be fine-tuned, or only run, which is faster.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "variables",
        "float32",
        STORED_DTYPES,
        "What the serving form stores its kernels in.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "formats",
        None,
        f"Some of {', '.join(FORMATS)}. By default saved_model.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "archive",
        False,
        "Pack each SavedModel, too, as a .tar.gz for hub.load(url).",
        flag_values=values,
    )
    flags.DEFINE_string(
        "weights",
        "published",
        "For a preset: a weight file, or `none`.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "all", False, "Export all presets with weights here.", flag_values=values
    )
    flags.DEFINE_string(
        "weights_dir",
        None,
        "With --all, a folder with published weight files, looked into beside the "
        "cache of downloads and the package.",
        flag_values=values,
    )
    define_overwrite_flag(values)


def run(values, arguments):
    """Exports, saying what is written and where."""
    options = {
        "outputs": values.outputs,
        "input_range": RANGES[values.input_range],
        "form": values.form,
        "variables": values.variables,
        "formats": tuple(values.formats or ["saved_model"]),
        "archive": values.archive,
        "overwrite": values.overwrite,
        "say": print,
    }
    if values["weights" if values.all else "weights_dir"].present:
        raise InputError("--weights is for one MODEL, and --weights_dir for --all.")
    if values.all:
        refuse_arguments(arguments)
        folder = {"out_dir": values.out_dir} if values.out_dir else {}
        export_all(values.weights_dir, **folder, **options)
        return
    if len(arguments) != 1:
        raise InputError(
            f"`export` takes one MODEL. Received: {' '.join(arguments) or 'none'}"
        )
    export(arguments[0], values.out_dir, weights=values.weights, **options)
