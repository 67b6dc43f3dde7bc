"""Where XLA keeps what it has compiled, for the processes after this one.

The first step of a large network takes about a minute on a GPU, most of it to try and
to compile kernels. TensorFlow can keep the results in files, but reads the options for
it once, before it computes anything. So this module is the first that `bit_keras`
imports, and the choice is an environment variable:

    export BIT_KERAS_COMPILE_CACHE=~/.cache/bit_keras
"""

import os
import pathlib
import warnings

import tensorflow as tf
from tensorflow.python.eager import context

VARIABLE = "BIT_KERAS_COMPILE_CACHE"


def set_up(environment=os.environ):
    """Makes the folder that the variable names, and tells TensorFlow of it.

    Args:
        environment: Environment variables, which are changed. Options for XLA that are
            there stay, and go before these.

    Returns:
        The folder for this version of TensorFlow, or `None` if the variable is not set.
        What XLA compiles is for one kind of device: machines with other GPUs that share
        a disk need folders of their own.
    """
    chosen = environment.get(VARIABLE)
    if not chosen:
        return None
    # There is no public way to ask.
    if context.context()._initialized:
        warnings.warn(
            f"{VARIABLE} has no effect: import bit_keras before TensorFlow computes "
            "anything.",
            stacklevel=2,
        )
    folder = pathlib.Path(chosen).expanduser() / f"tensorflow-{tf.__version__}"
    compiled, tuned = folder / "compiled", folder / "tuned"
    for part in (compiled, tuned):
        part.mkdir(parents=True, exist_ok=True)
    _add(environment, "TF_XLA_FLAGS", "tf_xla_persistent_cache_directory", compiled)
    _add(environment, "XLA_FLAGS", "xla_gpu_per_fusion_autotune_cache_dir", tuned)
    return folder


def _add(environment, variable, name, value):
    """Adds an option unless it is there."""
    given = environment.get(variable, "")
    if f"--{name}=" not in given:
        environment[variable] = f"{given} --{name}={value}".strip()


FOLDER = set_up()
