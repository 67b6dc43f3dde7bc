"""An export that is stopped leaves its target as it was."""

import signal
import subprocess
import time

import pytest
from commands import PROGRAM, command_environment, save_small_model


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_stopped_while_it_writes(tmp_path, number):
    save_small_model(tmp_path / "small.keras")
    process = subprocess.Popen(
        [*PROGRAM, "export", "small.keras", "--out_dir=out"],
        cwd=tmp_path,
        env=command_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    # Until the draft is there, which a rename would turn into the target at the end.
    while process.poll() is None and not list(tmp_path.rglob("saved_model.pb")):
        time.sleep(0.005)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    written = (path.relative_to(tmp_path) for path in tmp_path.rglob("saved_model.pb"))
    assert all(path.parts[1].startswith(".") for path in written)
    if number != signal.SIGKILL:
        assert said.splitlines()[-1] == "bit-keras: interrupted."
        assert not list(tmp_path.rglob(".*"))
