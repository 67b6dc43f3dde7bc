"""A run that was stopped ends as if nothing had stopped it."""

import errno
import os
import signal
import types

import keras
import numpy as np
import pytest
from small_runs import (
    Linear,
    Uncompiled,
    all_weights,
    make_network,
    make_recipe,
    make_source,
)

from bit_keras.errors import InputError, Interrupted, RunError
from bit_keras.training import fit
from bit_keras.training.callbacks import Clock, SaveCheckpoints, StopOnNaN
from bit_keras.training.fit import train
from bit_keras.training.resume import Checkpoints, Progress, first_difference

# Two epochs of six steps.
RECIPE = make_recipe(Uncompiled, steps=12, warmup_steps=2, decay_steps=(5, 9))


@pytest.fixture(autouse=True)
def two_epochs(monkeypatch):
    monkeypatch.setattr(fit, "count_epochs", lambda recipe, at_once: 2)


def run(checkpoints=None, every=None, source=None):
    """Returns all weights, those of the optimizer included, and the rows of a run."""
    model = make_network()
    state = train(
        model,
        source or make_source(),
        RECIPE,
        checkpoints=checkpoints,
        checkpoint_steps=every,
        progress=False,
    )
    return variables_of(model), state.rows


def variables_of(model):
    return [
        keras.ops.convert_to_numpy(v)
        for v in (*model.weights, *model.optimizer.variables)
    ]


@pytest.fixture(scope="module")
def uninterrupted():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "count_epochs", lambda recipe, at_once: 2)
        return run()


def assert_same(actual, expected):
    (variables, rows), (expected_variables, expected_rows) = actual, expected
    for one, other in zip(variables, expected_variables, strict=True):
        np.testing.assert_array_equal(one, other)
    assert rows == expected_rows


def stop_before_step(monkeypatch, step, how):
    """Calls `how` once that many batches were asked for."""
    begin = fit.SaveCheckpoints.on_train_batch_begin

    def on_train_batch_begin(self, batch, logs=None):
        if self.clock.step_before(batch) == step:
            how()
        begin(self, batch, logs)

    monkeypatch.setattr(
        fit.SaveCheckpoints, "on_train_batch_begin", on_train_batch_begin
    )


@pytest.mark.parametrize(
    ("step", "number"),
    [(1, signal.SIGINT), (4, signal.SIGTERM), (11, signal.SIGTERM)],
)
def test_a_signal_keeps_every_step(tmp_path, monkeypatch, uninterrupted, step, number):
    checkpoints = Checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        stop_before_step(patch, step, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted, match=f"go on after step {step}") as error:
            run(checkpoints)
    assert error.value.number == number
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert checkpoints.files()[0].name == f"step-{step:010d}.npz"
    assert_same(run(checkpoints), uninterrupted)


@pytest.mark.parametrize(("step", "kept"), [(2, None), (5, 3), (10, 9)])
def test_a_crash_costs_the_steps_since_the_last_checkpoint(
    tmp_path, monkeypatch, uninterrupted, step, kept
):
    def crash():
        raise MemoryError

    checkpoints = Checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        stop_before_step(patch, step, crash)
        with pytest.raises(MemoryError):
            run(checkpoints, every=3)
    newest = checkpoints.files()[0].name if kept else None
    assert newest == (kept and f"step-{kept:010d}.npz")
    assert_same(run(checkpoints, every=3), uninterrupted)


def test_a_finished_run_is_not_repeated(tmp_path, uninterrupted):
    checkpoints = Checkpoints(tmp_path)
    run(checkpoints)
    # With what would give other weights, were there a step left.
    assert_same(run(checkpoints, source=make_source(num_examples=9)), uninterrupted)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, uninterrupted):
    checkpoints = Checkpoints(tmp_path)
    run(checkpoints, every=3)
    newest, before = checkpoints.files()
    assert (newest.name, before.name) == ("step-0000000012.npz", "step-0000000009.npz")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match="step-0000000012.npz is damaged"):
        again = run(checkpoints, every=3)
    assert_same(again, uninterrupted)
    newest.write_bytes(content[:1000])
    before.write_bytes(b"")
    for path in checkpoints.files():
        path.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(InputError, match="All checkpoints in .* are damaged; remove"),
    ):
        run(checkpoints)


def test_a_full_disk_stops_the_run_and_leaves_what_was_there(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    save = np.savez

    def savez(path, **arrays):
        if len(checkpoints.files()) == 2:
            path.write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, **arrays)

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(RunError, match="No space left on device.*make room"):
        run(checkpoints, every=2)
    names = [path.name for path in tmp_path.iterdir()]
    assert sorted(names) == ["step-0000000002.npz", "step-0000000004.npz"]
    monkeypatch.undo()
    monkeypatch.setattr(fit, "count_epochs", lambda recipe, at_once: 2)
    assert Checkpoints(tmp_path).restore(compiled())[0].step == 4


def compiled(**changes):
    model = make_network(**changes)
    model.compile(**RECIPE.compile_args())
    model.optimizer.build(model.trainable_variables)
    return model


def test_nan_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    saver = {}

    def poison():
        saver["model"].layers[-1].bias.assign([np.nan] * 3)

    begin = fit.SaveCheckpoints.on_train_begin

    def on_train_begin(self, logs=None):
        saver["model"] = self.model
        begin(self, logs)

    monkeypatch.setattr(fit.SaveCheckpoints, "on_train_begin", on_train_begin)
    stop_before_step(monkeypatch, 4, poison)
    with pytest.raises(RunError, match="The loss became nan at step 5"):
        run(checkpoints, every=3)
    assert [path.name for path in checkpoints.files()] == ["step-0000000003.npz"]
    model = compiled()
    checkpoints.restore(model)
    assert np.isfinite(all_weights(model)).all()


def test_only_the_latest_are_kept(tmp_path):
    model = compiled()
    for keep in (1, 3):
        checkpoints = Checkpoints(tmp_path / str(keep), keep)
        for step in (5, 10, 100, 1000):
            checkpoints.save(model, Progress(step))
        steps = [int(path.stem.split("-")[1]) for path in checkpoints.files()]
        assert steps == [1000, 100, 10, 5][:keep]
    with pytest.raises(InputError, match="At least one"):
        Checkpoints(tmp_path, keep=0)


def test_one_that_does_not_write_reads_what_another_wrote(tmp_path):
    model = compiled()
    Checkpoints(tmp_path, writes=False).save(model, Progress(1))
    assert not Checkpoints(tmp_path).files()
    Checkpoints(tmp_path).save(model, Progress(2, [{"loss": 0.1}], 3.5))
    reader = Checkpoints(tmp_path, writes=False)
    assert reader.restore(model)[0] == Progress(2, [{"loss": 0.1}], 3.5)
    reader.remove()
    assert tmp_path.exists()
    Checkpoints(tmp_path).remove()
    assert not tmp_path.exists()


def test_a_checkpoint_of_another_model_changes_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(compiled(), Progress(1))
    other = compiled(num_classes=5)
    before = all_weights(other)
    with pytest.raises(InputError, match="is of another model: .*head"):
        checkpoints.restore(other)
    np.testing.assert_array_equal(all_weights(other), before)


def test_a_folder_belongs_to_one_configuration(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.configuration() is None
    configuration = {"seed": 0, "recipe": {"steps": 5, "decay_steps": (2, 3)}}
    checkpoints.claim(configuration)
    checkpoints.claim(configuration)
    assert checkpoints.is_of(configuration)
    changed = {"seed": 0, "recipe": {"steps": 6, "decay_steps": (2, 3)}}
    with pytest.raises(InputError, match="`recipe.steps` was 5 and is now 6"):
        checkpoints.claim(changed)


@pytest.mark.parametrize(
    ("before", "now", "difference"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": (1, 2)}, {"a": [1, 2]}, None),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ("a.b", 1, 2)),
        ({"a": 1}, {"b": 1}, ("a", 1, None)),
        ({}, {"b": 1}, ("b", None, 1)),
    ],
)
def test_first_difference(before, now, difference):
    assert first_difference(before, now) == difference


def test_a_signal_keeps_no_step_whose_loss_is_no_number():
    """Nor does it where the step before is one that callbacks were not told of yet."""

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            interruption.signal = signal.SIGTERM if batch == 3 else None

    kept = types.SimpleNamespace(save=lambda *arguments: kept.steps.append(arguments))
    kept.steps = []
    interruption = types.SimpleNamespace(signal=None)
    clock, progress = Clock(4), Progress()
    save = SaveCheckpoints(kept, progress, clock, interruption, None, True)
    images = np.ones((8, 2), np.float32)
    images[4:6] = np.nan
    model = Linear()
    model.compile("sgd", "mse", jit_compile=False)
    with pytest.raises(RunError, match="The loss became nan at step 3"):
        model.fit(
            images,
            np.ones((8, 1), np.float32),
            batch_size=2,
            callbacks=[clock, StopOnNaN(clock), Interrupt(), save],
            verbose=0,
            shuffle=False,
        )
    assert not kept.steps
