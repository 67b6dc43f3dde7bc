"""Measure the speed of this machine: inference, training, input.

bit-keras benchmark [--model PRESET | --depth 50 --width 1] [--flags]
"""

import json

from absl import flags

from bit_keras.cli.common import (
    define_data_flags,
    define_image_size_flag,
    define_json_flag,
    define_overwrite_flag,
    refuse_arguments,
)
from bit_keras.cli.training import PRECISIONS, define_memory_flags
from bit_keras.errors import InputError
from bit_keras.workflows.benchmark import MODES, benchmark

XLA = {"auto": None, "on": True, "off": False}
# Heading and width of the columns.
COLUMNS = (
    ("", -8),
    ("batch", 5),
    ("images/s", 9),
    ("ms per step (10 to 90 %)", 27),
    ("first step", 10),
    ("peak memory", 11),
    ("TFLOP/s", 8),
    ("of matrix rate", 14),
)


def define_flags(values):
    """Defines the flags of this command."""
    flags.DEFINE_string(
        "model",
        None,
        "A preset, a .keras file, the folder of a run, or a published weight file, to "
        "take the architecture of; its weights do not matter and are not downloaded.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "depth",
        None,
        "In place of a model, the depth: 26, 50, 101 or 152. By default 50.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "width", None, "And the width. By default 1.", flag_values=values
    )
    flags.DEFINE_list(
        "modes",
        None,
        "Some of infer (the serving form), train (whole steps) and pipeline (the "
        "images of --dataset, read and augmented). By default all.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "batch_size",
        "auto",
        "Images in a step, or `auto`: twice as many as long as that is faster and fits "
        "into the memory.",
        flag_values=values,
    )
    define_image_size_flag(values)
    flags.DEFINE_enum(
        "precision",
        "float32",
        list(PRECISIONS),
        "Numbers to compute with, also for the machine's matrix rate.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "xla",
        "auto",
        list(XLA),
        "Whether XLA compiles. `auto` as training does.",
        flag_values=values,
    )
    define_memory_flags(values)
    define_data_flags(values)
    flags.DEFINE_integer(
        "steps",
        None,
        "Measurements of each figure, each of one step or of as many short ones as "
        "take a tenth of a second. By default 30 on a GPU and 6 without one.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_string("out", None, "JSON file for the result.", flag_values=values)
    define_overwrite_flag(values)
    define_json_flag(values)


def run(values, arguments):
    """Measures, and prints the figures as a table."""
    refuse_arguments(arguments)
    result = benchmark(
        values.model,
        depth=values.depth,
        width=values.width,
        modes=MODES if values.modes is None else values.modes,
        batch_size=_parse_batch_size(values.batch_size),
        image_size=values.image_size,
        precision=PRECISIONS[values.precision],
        xla=XLA[values.xla],
        batch_split=values.batch_split,
        remat=values.remat,
        dataset=values.dataset,
        data_dir=values.data_dir,
        steps=values.steps,
        out=values.out,
        overwrite=values.overwrite,
    )
    if values.json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    print("\n".join(describe(result)))
    if values.out:
        print(f"Figures: {values.out}")


def _parse_batch_size(text):
    """Returns a number, or `None` for `auto`."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(
            f"--batch_size must be a positive number or `auto`. Received: {text}"
        )
    return int(text)


def describe(result):
    """Yields the lines about a `Benchmark` that people read."""
    environment = result.environment
    yield (
        f"{environment['device']}; {environment['processor']}, {environment['cores']} "
        f"cores; TensorFlow {environment['tensorflow']}, Keras {environment['keras']}, "
        f"bit_keras {environment['bit_keras']}"
    )
    if result.matrix_flops:
        yield (
            f"{result.network}, {result.num_parameters / 1e6:.1f} M parameters (random "
            f"ones), {result.image_size} px, {result.precision}, XLA "
            f"{'on' if result.xla else 'off'}"
        )
        yield (
            f"Matrix rate: {result.matrix_flops / 1e12:.3g} TFLOP/s, of matrices of "
            f"{result.matrix_size} x {result.matrix_size}"
        )
    trained = "train" in result.modes
    if trained and result.batch_split > 1:
        yield f"Training computes each batch in {result.batch_split} parts"
    if trained and result.remat:
        yield "Training computes the inside of each residual unit anew"
    if result.dataset:
        yield f"Pipeline: {result.dataset}, for training at {result.image_size} px"
    yield ""
    yield _row(heading for heading, _ in COLUMNS)
    for mode, figures in result.modes.items():
        yield _row([mode, *_cells(figures)])
    yield ""
    for mode, figures in result.modes.items():
        if figures.tried:
            sizes = ", ".join(str(size) for size, _ in figures.tried)
            yield f"Batches tried for {mode}: {sizes}; {figures.search_ended}."
    for kind, modes in _memory_kinds(result.modes).items():
        yield f"Peak memory of {', '.join(modes)}: that of {kind}."


def _row(cells):
    """Returns cells side by side, those of a negative width to the left."""
    padded = (
        cell.ljust(-width) if width < 0 else cell.rjust(width)
        for cell, (_, width) in zip(cells, COLUMNS, strict=True)
    )
    return "  ".join(padded).rstrip()


def _cells(figures):
    low, high = figures.step_ms_spread
    memory, flops = figures.peak_memory, figures.model_flops
    return (
        str(figures.batch_size),
        f"{figures.images_per_second:,.1f}",
        f"{figures.step_ms:.4g} ({low:.4g} to {high:.4g})",
        f"{figures.first_step_seconds:.1f} s",
        "-" if memory is None else f"{memory / 1e9:.2f} GB",
        "-" if flops is None else f"{flops / 1e12:.3g}",
        "-" if flops is None else f"{figures.matrix_share:.1%}",
    )


def _memory_kinds(modes):
    """Returns {what the peak is of: modes}."""
    kinds = {}
    for mode, figures in modes.items():
        kinds.setdefault(figures.peak_memory_kind, []).append(mode)
    return kinds
