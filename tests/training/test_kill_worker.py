"""Two workers of which one is killed, started again, end as if it had not been."""

import pathlib
import time

import numpy as np
from workers import finish, start_workers

WORKER = pathlib.Path(__file__).with_name("kill_worker.py")


def wait_for_checkpoint(folder, processes, at_least):
    """Waits until a checkpoint of so many steps is there."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        steps = [int(path.stem[5:]) for path in folder.glob("checkpoints/step-*.npz")]
        if max(steps, default=0) >= at_least:
            return
        if any(process.poll() is not None for process in processes):
            break
        time.sleep(0.05)
    raise AssertionError(finish(processes, timeout=5))


def test_a_worker_of_two_is_killed(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    statuses, outputs = finish(start_workers(WORKER, tmp_path / "whole"))
    assert statuses == [0, 0], outputs

    processes = start_workers(WORKER, tmp_path / "killed")
    wait_for_checkpoint(tmp_path / "killed", processes, at_least=16)
    processes[1].kill()
    statuses, outputs = finish(processes)
    # The other one says why it stops, and what to do.
    assert statuses[0] == 1, outputs
    assert "Another worker was lost; start the same command again" in outputs[0]
    assert not (tmp_path / "killed" / "result.npz").exists()

    statuses, outputs = finish(start_workers(WORKER, tmp_path / "killed"))
    assert statuses == [0, 0], outputs
    whole, killed = (
        np.load(tmp_path / name / "result.npz") for name in ("whole", "killed")
    )
    assert set(whole.files) == set(killed.files)
    for name in whole.files:
        np.testing.assert_array_equal(whole[name], killed[name])
