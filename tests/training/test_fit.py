"""Whole runs: the same on one device, on several, and on several machines."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import (
    Uncompiled,
    all_weights,
    make_model,
    make_network,
    make_recipe,
    make_source,
    mirrored,
    relative_l2,
)
from workers import finish, start_workers

import bit_keras
from bit_keras.data import raw
from bit_keras.data.load import eval_batches, train_batches
from bit_keras.data.raw import RawImages
from bit_keras.errors import InputError, RunError
from bit_keras.training import fit
from bit_keras.training.fit import columns, count_epochs, segments, train

WORKER = pathlib.Path(__file__).with_name("train_worker.py")


def run(model, recipe=None, **options):
    """Returns weights and history of a run of ten steps with MixUp."""
    options = {"progress": False} | options
    state = train(model, make_source(), recipe or make_recipe(), **options)
    return all_weights(model), columns(state.rows)


@pytest.fixture(scope="module")
def reference():
    """A plain loop over the batches: Keras's layers, the paper's momentum, no fit."""
    model, source, recipe = make_model(), make_source(), make_recipe()
    variables = [variable.value for variable in model.trainable_variables]
    velocities = [np.zeros(variable.shape) for variable in variables]
    test_images, test_labels, test_weights = next(
        iter(eval_batches(source, source.test, recipe.crop))
    )

    def loss_of(images, labels):
        logits = model(images)
        return tf.nn.softmax_cross_entropy_with_logits(labels, logits)

    losses, val_losses = [], []
    for step, batch in enumerate(train_batches(source, recipe).take(recipe.steps)):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(loss_of(*batch))
        losses.append(float(loss))
        rate = float(recipe.learning_rate(step))
        for i, gradient in enumerate(tape.gradient(loss, variables)):
            velocities[i] = 0.9 * velocities[i] + gradient.numpy()
            variables[i].assign_sub(rate * velocities[i])
        val_loss = loss_of(test_images, test_labels).numpy()[test_weights == 1]
        val_losses.append(np.mean(val_loss))
    return all_weights(model), losses, val_losses


def assert_is_reference(reference, actual, history):
    weights, losses, val_losses = reference
    assert relative_l2(actual, weights) <= 1e-6
    losses = np.reshape(losses, (len(history["loss"]), -1)).mean(axis=1)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    every = 10 // len(history["loss"])
    np.testing.assert_allclose(
        history["val_loss"], val_losses[every - 1 :: every], rtol=1e-5
    )


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_a_run_is_the_plain_loop_on_any_number_of_devices(reference, replicas):
    """With MixUp, several steps at once, and parts of batches, under XLA."""
    options = {"batch_split": 2, "steps_per_execution": 2} if replicas == 2 else {}
    # XLA takes long to compile for each of four devices.
    recipe = make_recipe(Uncompiled) if replicas == 4 else make_recipe()
    actual, history = run(make_model(mirrored(replicas)), recipe, **options)
    assert_is_reference(reference, actual, history)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_run_whose_images_are_rendered_on_the_device_is_the_same(
    reference, monkeypatch, replicas
):
    monkeypatch.setattr(fit, "_has_gpu", lambda: True)
    rendered = []

    def render_batch(batch):
        rendered.append(isinstance(batch[0], RawImages))
        return raw.render_batch(batch)

    monkeypatch.setattr(fit, "render_batch", render_batch)
    actual, history = run(make_model(mirrored(replicas)))
    assert rendered
    assert all(rendered)
    assert_is_reference(reference, actual, history)


def test_a_step_that_is_too_large_says_what_to_do(monkeypatch):
    def fail(*args, **kwargs):
        raise tf.errors.ResourceExhaustedError(None, None, "Graph execution error:")

    monkeypatch.setattr(bit_keras.BiTClassifier, "fit", fail)
    words = "8 images of 32 pixels .* set batch_split to 4 .* Received: batch_split=2"
    with pytest.raises(RunError, match=words):
        run(make_model(), batch_split=2)


def test_two_workers_do_the_same(reference, tmp_path):
    statuses, outputs = finish(start_workers(WORKER, tmp_path / "result.npz"))
    assert statuses == [0, 0], outputs
    result = np.load(tmp_path / "result.npz")
    assert len(result["loss"]) == 5
    assert_is_reference(reference, result["weights"], result)


def test_rates_and_steps_are_noted_by_epoch():
    _, history = run(make_network(), recipe=make_recipe(Uncompiled))
    assert history["step"] == list(range(1, 11))
    factors = [0, 0.5, 1, 1, 1, 1, 1, 0.1, 0.1, 0.01]
    np.testing.assert_allclose(
        history["learning_rate"], 0.003 * np.array(factors), rtol=1e-6
    )


def test_progress_counts_images(capsys):
    run(make_network(), recipe=make_recipe(Uncompiled), progress=True)
    shown = capsys.readouterr().err
    assert "training: 100%" in shown
    assert "80.0/80.0" in shown and "images/s" in shown
    assert re.search(r"accuracy=[\d.]+, input_wait=\d+%", shown)


def test_progress_shows_no_waiting_that_is_not_measured(capsys):
    recipe = make_recipe(Uncompiled)
    run(make_network(), recipe=recipe, progress=True, steps_per_execution=5)
    shown = capsys.readouterr().err
    assert "accuracy=" in shown and "input_wait" not in shown


def test_evaluation_never_sees_more_images_than_training():
    """Epochs of 8 images, and 20 to test on."""
    model = make_network()
    source = make_source(num_test=20)
    rows = train(model, source, make_recipe(Uncompiled, steps=7), progress=False).rows
    measured = ["val_loss" in row for row in rows]
    assert measured == [False, False, True] * 2 + [False]


def test_a_loss_that_is_no_number_stops_at_its_step():
    model = make_network()
    model.layers[-1].bias.assign([np.nan, 0, 0])
    with pytest.raises(RunError, match="The loss became nan at step 1;"):
        train(model, make_source(), make_recipe(Uncompiled), progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps_per_execution": 3}, "must divide the 10 steps of the recipe"),
        ({"batch_split": 3}, "multiple of 3, for 1 replicas and 3 parts"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        run(make_network(), **options)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, [(0, 5, 4, 0)]),
        (3, [(0, 1, 1, 3), (1, 5, 4, 0)]),
        (4, [(1, 5, 4, 0)]),
        (18, [(4, 5, 2, 2)]),
        (20, []),
    ],
)
def test_what_is_left_of_a_run(step, expected):
    assert segments(step, steps_per_epoch=4, epochs=5) == expected


@pytest.mark.parametrize(("at_once", "epochs"), [(1, 10), (2, 5), (5, 2), (10, 1)])
def test_epochs_are_of_whole_executions(at_once, epochs):
    assert count_epochs(make_recipe(), at_once) == epochs


@pytest.mark.parametrize(
    ("steps", "at_once", "epochs"), [(11, 1, 1), (121, 1, 1), (22, 1, 2), (22, 2, 1)]
)
def test_steps_that_nothing_divides_are_one_epoch(steps, at_once, epochs):
    """There is one evaluation then, at the end: epochs are of equal length."""
    assert count_epochs(make_recipe(steps=steps), at_once) == epochs


def test_a_backbone_that_is_not_trained_stays_as_it_is():
    model = make_model()
    model.backbone.trainable = False
    before = [keras.ops.convert_to_numpy(w) for w in model.backbone.weights]
    train(model, make_source(), make_recipe(Uncompiled, steps=3), progress=False)
    for value, weight in zip(before, model.backbone.weights, strict=True):
        np.testing.assert_array_equal(value, weight)
    assert np.any(model.head.kernel)
