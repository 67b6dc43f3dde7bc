"""Where XLA keeps what it has compiled, and how it compiles in less time.

The first step of a large network takes about a minute on a GPU, most of it to try and
to compile kernels. TensorFlow can keep the results in files, and work on many cores,
but reads the options for it once, before it looks for devices. So this module is the
first that `bit_keras` imports, it imports TensorFlow no sooner than it must, and the
choice is an environment variable:

    export BIT_KERAS_COMPILE_CACHE=~/.cache/bit_keras
"""

import importlib.metadata
import os
import pathlib
import sys
import warnings

VARIABLE = "BIT_KERAS_COMPILE_CACHE"
# By default one thread makes the code of all kernels.
PARALLEL = {
    "xla_gpu_enable_llvm_module_compilation_parallelism": "true",
    "xla_gpu_force_compilation_parallelism": min(16, os.cpu_count() or 1),
}
# Tries no other ways to compute what is no convolution: none were worth it.
ONE_WAY = {
    "xla_gpu_experimental_enable_fusion_autotuner": "false",
    "xla_gpu_enable_triton_gemm": "false",
}
# Keeps what a GPU runs. By default the step before it is kept, of which LLVM's code is
# made again each time it is read.
WHOLE = {"xla_gpu_experimental_aot_compiled_thunks": "true"}
# The folder for the ways that were found to compute convolutions. Later versions ignore
# the option of that name that is documented.
TUNED = "xla_gpu_per_fusion_autotune_cache_dir"
TUNED_BY_VERSION = {"2.21": "xla_gpu_experimental_autotuner_cache_dir"}


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
    version = _tensorflow_version()
    if _has_read_options():
        warnings.warn(
            f"{VARIABLE} has no effect: import bit_keras before TensorFlow looks for "
            "devices, and outside of what absl's app.run calls.",
            stacklevel=2,
        )
    folder = pathlib.Path(chosen).expanduser() / f"tensorflow-{version}"
    compiled, tuned = folder / "compiled", folder / "tuned"
    for part in (compiled, tuned):
        part.mkdir(parents=True, exist_ok=True)
    _add(environment, "TF_XLA_FLAGS", {"tf_xla_persistent_cache_directory": compiled})
    tuned_option = TUNED_BY_VERSION.get(_minor(version), TUNED)
    options = {tuned_option: tuned, **faster_options(version)}
    _add(environment, "XLA_FLAGS", options)
    return folder


def faster_options(version):
    """Returns options by which XLA compiles in less time, {name: value}.

    With TensorFlow 2.21 steps of R50x1 were as fast, in training and in inference
    (`benchmarks/first-step-h200.json`).

    Args:
        version: That of TensorFlow. XLA ends a process that has options it does not
            know, so there are none for versions of which that has not been tried.
    """
    by_version = {"2.20": PARALLEL, "2.21": PARALLEL | ONE_WAY | WHOLE}
    return by_version.get(_minor(version), {})


def _minor(version):
    """Returns "2.21" of "2.21.0"."""
    return ".".join(version.split(".")[:2])


def _has_read_options():
    """Returns whether it is too late for options: TensorFlow has looked for devices.

    In a program of absl that happens on TensorFlow's import already.
    """
    module = sys.modules.get("tensorflow.python.eager.context")
    if module is None:
        return False
    # There is no public way to ask.
    context = module.context()
    return context._initialized or context._physical_devices is not None


def _tensorflow_version():
    """Returns the version, without an import of TensorFlow where that can be."""
    # Builds have other names, such as tensorflow-cpu.
    builds = importlib.metadata.packages_distributions().get("tensorflow")
    if builds:
        return importlib.metadata.version(builds[0])
    import tensorflow as tf

    return tf.__version__


def _add(environment, variable, options):
    """Adds those options that are not there."""
    given = environment.get(variable, "").strip()
    if given and not given.startswith("-"):
        warnings.warn(
            f"{VARIABLE} adds nothing to {variable}, which is the name of a file. "
            f"Received: {given}",
            stacklevel=3,
        )
        return
    names = {option.split("=")[0] for option in given.split()}
    added = (
        f'--{name}="{value}"'
        for name, value in options.items()
        if f"--{name}" not in names
    )
    environment[variable] = " ".join([given, *added]).strip()


FOLDER = set_up()
