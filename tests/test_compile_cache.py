import os
import pathlib
import subprocess
import sys

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


@pytest.mark.parametrize("before", ["", "import tensorflow, keras"])
def test_what_was_compiled_is_read_again(tmp_path, before):
    environment = {compile_cache.VARIABLE: str(tmp_path / "cache")}
    done = run(environment, f"{before}\n{PROGRAM}")
    assert "has no effect" not in done.stderr
    result, folder = done.stdout.split()
    assert result == "42.0"
    (kept,) = (pathlib.Path(folder) / "compiled").iterdir()
    assert run(environment).stdout == done.stdout
    # That it was read is seen by what happens where it cannot be.
    kept.write_text("no compiled function")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(environment)
    assert "__inference_double" in failed.value.stderr


def test_one_hears_if_it_comes_too_late(tmp_path):
    environment = {compile_cache.VARIABLE: str(tmp_path / "cache")}
    before = "import tensorflow as tf; tf.constant(0)"
    assert "has no effect" in run(environment, f"{before}\n{PROGRAM}").stderr
    assert not any((tmp_path / "cache").glob("*/compiled/*"))


def test_nothing_happens_unless_asked_for():
    environment = {"XLA_FLAGS": "--xla_dump_to=there"}
    assert compile_cache.set_up(environment) is None
    assert environment == {"XLA_FLAGS": "--xla_dump_to=there"}


def test_own_options_stay(tmp_path):
    own = {
        "XLA_FLAGS": "--xla_dump_to=there",
        "TF_XLA_FLAGS": "--tf_xla_persistent_cache_directory=mine",
        compile_cache.VARIABLE: str(tmp_path),
    }
    environment = dict(own)
    tf.constant(0)
    with pytest.warns(UserWarning, match="before TensorFlow computes"):
        folder = compile_cache.set_up(environment)
    assert environment["TF_XLA_FLAGS"] == own["TF_XLA_FLAGS"]
    tuned = f"--xla_gpu_per_fusion_autotune_cache_dir={folder / 'tuned'}"
    assert environment["XLA_FLAGS"] == f"{own['XLA_FLAGS']} {tuned}"
