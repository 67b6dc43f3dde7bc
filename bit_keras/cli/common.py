"""Flags and checks that several commands share."""

import pathlib

from absl import flags

from bit_keras.errors import InputError


def define_data_flags(values):
    """Defines `--dataset` and `--data_dir`."""
    flags.DEFINE_string(
        "dataset",
        "doodles",
        "A TFDS name, a folder with a sub-folder of images for each class, or the "
        "bundled `doodles`.",
        flag_values=values,
    )
    define_data_dir_flag(values)


def define_data_dir_flag(values):
    """Defines `--data_dir`."""
    flags.DEFINE_string(
        "data_dir",
        None,
        "Folder where TFDS keeps its sets. By default TFDS's own.",
        flag_values=values,
    )


def define_manual_dir_flag(values):
    """Defines `--manual_dir`."""
    flags.DEFINE_string(
        "manual_dir",
        None,
        "Folder with what TFDS needs to be downloaded by hand.",
        flag_values=values,
    )


def define_models_flag(values, required):
    """Defines `--model` for several models."""
    flags.DEFINE_list(
        "model",
        None,
        "Presets, .keras files, folders of runs, or published weight files, with "
        "commas between them.",
        required=required,
        flag_values=values,
    )


def define_image_size_flag(values):
    """Defines `--image_size`."""
    flags.DEFINE_integer(
        "image_size",
        None,
        "Pixels that images are resized to. By default the model's.",
        lower_bound=32,
        flag_values=values,
    )


def define_overwrite_flag(values):
    """Defines `--overwrite`."""
    flags.DEFINE_bool(
        "overwrite", False, "Replace results that are there.", flag_values=values
    )


def define_json_flag(values):
    """Defines `--json`."""
    flags.DEFINE_bool(
        "json", False, "Write the result as JSON for programs.", flag_values=values
    )


def refuse_arguments(arguments):
    """Raises `InputError` where a command that takes flags alone got something else."""
    if arguments:
        raise InputError(
            f"This command takes flags alone. Received: {' '.join(arguments)}"
        )


def define_model_flag(values, default=None):
    """Defines `--model`, which has to be given where there is no default."""
    flags.DEFINE_string(
        "model",
        default,
        "A preset, a .keras file, the folder of a run, or a published weight file.",
        required=default is None,
        flag_values=values,
    )


def describe_share(count, evaluation):
    """Returns a count of an evaluation's examples, with its share."""
    total = evaluation.num_examples
    return f"{100 * count / total:.2f} %, {count:,} of {total:,}"


def named_models(models):
    """Returns models by short names, or by all of what was given where those meet."""
    if len(set(models)) < len(models):
        raise InputError(
            f"Each model can be given once. Received: --model={','.join(models)}"
        )
    names = [pathlib.Path(model).stem for model in models]
    if len(set(names)) < len(names):
        names = models
    return dict(zip(names, models, strict=True))


def parse_numbers(name, texts, kind):
    """Returns the numbers in a list of texts, or raises `InputError`.

    Args:
        name: Of the flag.
        texts: Its values.
        kind: `int` or `float`.
    """
    try:
        return [kind(text) for text in texts]
    except ValueError as error:
        what = "whole numbers" if kind is int else "numbers"
        raise InputError(
            f"--{name} takes {what} with commas between them. Received: "
            f"{','.join(texts)}"
        ) from error


def print_table(rows):
    """Prints rows of texts in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        print("  ".join(f"{text:{width}s}" for text, width in cells).rstrip())
