"""The largest published network is exported within a small machine's memory."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import bit_keras

folder, form = sys.argv[1:]
model = bit_keras.BiTClassifier(bit_keras.BiTBackbone(depth=152, width=4), 10)
bit_keras.export_saved_model(model, folder, "logits", form=form)
peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak / (4 * model.count_params()))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("form", "most"), [("trainable", 2.2), ("serving", 3.1)])
def test_peak_memory_of_r152x4(tmp_path, form, most):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "export", form],
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    assert 1 < float(done.stdout) < most
