import os
import pathlib
import subprocess
import sys
import textwrap

import pytest
import tensorflow as tf

from bit_keras import compile_cache

PROGRAM = """
import bit_keras, tensorflow as tf

@tf.function(jit_compile=True)
def double(x):
    return 2 * x

print(double(tf.constant(21.0)).numpy(), bit_keras.compile_cache.FOLDER)
"""


def run(environment, program=PROGRAM):
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


# The same in a program of absl, on whose start TensorFlow looks for devices.
IN_APP = f"""
from absl import app

def main(_):
{textwrap.indent(PROGRAM, "    ")}

app.run(main)
"""


@pytest.mark.parametrize("program", [f"import tensorflow, keras\n{PROGRAM}", IN_APP])
def test_what_was_compiled_is_read_again(tmp_path, program):
    """XLA stops a process that has options it does not know: it knows all of these."""
    environment = {compile_cache.VARIABLE: str(tmp_path / "my cache")}
    done = run(environment, program)
    assert "has no effect" not in done.stderr
    result, folder = done.stdout.strip().split(" ", 1)
    assert result == "42.0"
    (kept,) = (pathlib.Path(folder) / "compiled").iterdir()
    assert run(environment, program).stdout == done.stdout
    # That it was read is seen by what happens where it cannot be.
    kept.write_text("no compiled function")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(environment, program)
    assert "__inference_double" in failed.value.stderr


@pytest.mark.parametrize(
    "program",
    [
        f"import tensorflow as tf; tf.constant(0)\n{PROGRAM}",
        f"import tensorflow\n{IN_APP}",
    ],
)
def test_one_hears_if_it_comes_too_late(tmp_path, program):
    environment = {compile_cache.VARIABLE: str(tmp_path / "cache")}
    assert "has no effect" in run(environment, program).stderr
    assert not any((tmp_path / "cache").glob("*/compiled/*"))


def test_nothing_happens_unless_asked_for():
    environment = {"XLA_FLAGS": "--xla_dump_to=there"}
    assert compile_cache.set_up(environment) is None
    assert environment == {"XLA_FLAGS": "--xla_dump_to=there"}


def test_own_options_stay(tmp_path):
    own = {
        "XLA_FLAGS": "--xla_dump_to=there --xla_gpu_force_compilation_parallelism=3",
        "TF_XLA_FLAGS": "--tf_xla_persistent_cache_directory=mine",
        compile_cache.VARIABLE: str(tmp_path),
    }
    environment = dict(own)
    tf.constant(0)
    with pytest.warns(UserWarning, match="before TensorFlow looks for devices"):
        folder = compile_cache.set_up(environment)
    assert environment["TF_XLA_FLAGS"] == own["TF_XLA_FLAGS"]
    first, threads, tuned, *others = environment["XLA_FLAGS"].split()
    assert f"{first} {threads}" == own["XLA_FLAGS"]
    option = {
        "2.20": "xla_gpu_per_fusion_autotune_cache_dir",
        "2.21": "xla_gpu_experimental_autotuner_cache_dir",
    }[".".join(tf.__version__.split(".")[:2])]
    assert tuned == f'--{option}="{folder / "tuned"}"'
    assert '--xla_gpu_enable_llvm_module_compilation_parallelism="true"' in others
    names = [option.split("=")[0] for option in environment["XLA_FLAGS"].split()]
    assert len(set(names)) == len(names)


def test_a_switch_without_a_value_stays(tmp_path):
    switch = "--xla_gpu_experimental_enable_fusion_autotuner"
    environment = {"XLA_FLAGS": switch, compile_cache.VARIABLE: str(tmp_path)}
    with pytest.warns(UserWarning, match="has no effect"):
        compile_cache.set_up(environment)
    assert environment["XLA_FLAGS"].count(switch) == 1


def test_a_file_of_options_is_left_alone(tmp_path):
    """XLA takes what begins without a dash for the name of a file."""
    environment = {"XLA_FLAGS": "my.flags", compile_cache.VARIABLE: str(tmp_path)}
    with pytest.warns(UserWarning) as caught:
        compile_cache.set_up(environment)
    assert "name of a file. Received: my.flags" in str(caught[-1].message)
    assert environment["XLA_FLAGS"] == "my.flags"
    assert "persistent_cache_directory" in environment["TF_XLA_FLAGS"]


def test_options_are_those_that_a_version_knows():
    """A test of `set_up` would die of one that this version does not know."""
    assert compile_cache.faster_options(tf.__version__)
    parallel, all_of_them = map(compile_cache.faster_options, ("2.20.1", "2.21.0rc1"))
    assert parallel.keys() < all_of_them.keys()
    assert compile_cache.faster_options("2.2.0") == {}
    assert compile_cache.faster_options("3.0.0") == {}
