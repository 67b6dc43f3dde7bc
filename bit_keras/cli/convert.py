"""Turn any readable checkpoint into any writable one.

bit-keras convert SOURCE TARGET [--overwrite]

Reads .npz (big_transfer, big_vision), .h5 (big_transfer), .safetensors (timm) and
.keras; writes .npz (big_transfer), .safetensors (timm), .keras and .weights.h5.
"""

from absl import flags

from bit_keras.errors import InputError
from bit_keras.workflows.convert import convert


def define_flags(values):
    """Defines the flags of this command."""
    flags.DEFINE_bool(
        "overwrite", False, "Replace an existing target.", flag_values=values
    )


def run(values, arguments):
    """Converts the first argument into the second."""
    if len(arguments) != 2:
        raise InputError(
            "`convert` takes two files, SOURCE and TARGET. "
            f"Received: {' '.join(arguments) or 'none'}"
        )
    source, target = arguments
    architecture = convert(source, target, overwrite=values.overwrite)
    print(f"Wrote {target}: {architecture}, from {source}.")
