"""Callbacks that are called while the device computes the next step."""

import inspect
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import Linear

from bit_keras.models.steps_ahead import minds_later_steps

STEPS = 5


class Counting(Linear):
    """Counts the steps that it has launched."""

    launched = 0

    def make_train_function(self, force=False):
        super().make_train_function(force)
        function = self.train_function

        def counting(iterator):
            self.launched += 1
            return function(iterator)

        self.train_function = counting


class Watch(keras.callbacks.Callback):
    """Notes what it is called for, and how many steps were launched by then."""

    def __init__(self, async_safe):
        super().__init__()
        self.async_safe = async_safe
        self.seen = []
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append((batch, self.model.launched))
        self.losses.append(logs["loss"])

    def on_test_begin(self, logs=None):
        self.seen.append("test")

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append("end")


def fit(*callbacks, **options):
    """Returns the history of a model that learns one thing in a few steps."""
    random = np.random.default_rng(0)
    data = random.normal(size=(2 * STEPS, 2)), random.normal(size=(2 * STEPS, 1))
    batches = tf.data.Dataset.from_tensor_slices(data).batch(2)
    model = Counting()
    model.compile("sgd", "mse", jit_compile=False)
    given = {"epochs": 1, "verbose": 0, "shuffle": False} | options
    return model.fit(batches, callbacks=list(callbacks), **given).history, batches


def test_a_safe_callback_is_called_once_the_next_step_is_launched():
    safe = Watch(async_safe=True)
    fit(safe)
    # But for the last one, after which there is none.
    assert safe.seen == [(0, 2), (1, 3), (2, 4), (3, 5), (4, 5), "end"]


def test_any_other_callback_is_called_before_it():
    safe, unsafe = Watch(async_safe=True), Watch(async_safe=False)
    fit(safe, unsafe)
    expected = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), "end"]
    assert safe.seen == unsafe.seen == expected


def test_callbacks_are_told_the_same():
    safe, unsafe = Watch(async_safe=True), Watch(async_safe=False)
    histories = [fit(watch, epochs=2)[0] for watch in (safe, unsafe)]
    assert safe.losses == unsafe.losses
    assert len(safe.losses) == 2 * STEPS
    assert all(type(loss) is float for loss in safe.losses)
    assert histories[0] == histories[1]


def test_all_steps_were_told_of_before_a_test_begins():
    safe = Watch(async_safe=True)
    _, batches = fit()
    fit(safe, validation_data=batches)
    assert safe.seen[-3:] == [(4, 5), "test", "end"]


def test_the_progress_bar_knows_the_number_of_steps(capsys):
    fit(verbose=1)
    assert f"{STEPS}/{STEPS}" in capsys.readouterr().out


def test_an_error_of_a_callback_ends_the_run():
    class Failing(keras.callbacks.Callback):
        async_safe = True

        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError(f"at step {batch}")

    with pytest.raises(RuntimeError, match="at step 0"):
        fit(Failing())


def test_a_list_of_callbacks_is_taken_as_it_is():
    watch = Watch(async_safe=True)
    model = Counting()
    model.compile("sgd", "mse", jit_compile=False)
    given = keras.callbacks.CallbackList([watch], add_history=True, model=model)
    data = np.ones((4, 2)), np.ones((4, 1))
    model.fit(*data, batch_size=2, callbacks=given, verbose=0)
    assert watch.seen == [(0, 1), (1, 2), "end"]


def test_completed_steps_are_told_of_where_the_next_one_fails():
    def batches():
        for _ in range(3):
            yield np.ones((2, 2), "float32"), np.ones((2, 1), "float32")
        raise ValueError("a broken image")

    kinds = tf.TensorSpec((2, 2)), tf.TensorSpec((2, 1))
    data = tf.data.Dataset.from_generator(batches, output_signature=kinds)
    model, watch = Counting(), Watch(async_safe=True)
    model.compile("sgd", "mse", jit_compile=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a broken image"):
        model.fit(data, callbacks=[watch], verbose=0, shuffle=False)
    assert [batch for batch, _ in watch.seen] == [0, 1, 2]


def test_who_stops_the_training_stops_it_a_step_later():
    class Stop(Watch):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            self.model.stop_training = True

    stop = Stop(async_safe=True)
    fit(stop)
    assert stop.seen == [(0, 2), (1, 2), "end"]


def test_a_callback_may_train_the_model_itself():
    class Again(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            inner = Watch(async_safe=True)
            data = np.ones((4, 2)), np.ones((4, 1))
            self.model.fit(*data, batch_size=2, callbacks=[inner], verbose=0)
            assert [batch for batch, _ in inner.seen[:-1]] == [0, 1]

    watch = Watch(async_safe=True)
    fit(watch, Again(), epochs=2)
    steps = [each[0] for each in watch.seen if each != "end"]
    assert steps == 2 * list(range(STEPS))


def test_threads_end_with_the_run():
    before = threading.active_count()
    fit(Watch(async_safe=True))
    fit(Watch(async_safe=False))
    assert threading.active_count() == before


def test_arguments_are_those_of_keras(monkeypatch):
    assert inspect.signature(Counting.fit) == inspect.signature(keras.Model.fit)
    model, watch = Counting(), Watch(async_safe=True)
    model.compile("sgd", "mse", jit_compile=False)
    data = np.ones((8, 2)), np.ones((8, 1))
    # Batches of 2 and two epochs, without a bar; a quarter of the data tests.
    model.fit(*data, 2, 2, 0, [watch], 0.25)
    told = [
        (0, 2),
        (1, 3),
        (2, 3),
        "test",
        "end",
        (0, 5),
        (1, 6),
        (2, 6),
        "test",
        "end",
    ]
    assert watch.seen == told
    assert watch.params == {"verbose": 0, "epochs": 2, "steps": 3}
    keras.config.set_max_epochs(1)
    try:
        with pytest.warns(UserWarning, match="Limiting epochs"):
            model.fit(*data, epochs=5, callbacks=[watch], verbose=0)
    finally:
        keras.config.set_max_epochs(None)
    assert watch.params["epochs"] == 1


def test_a_run_that_cannot_begin_leaves_the_last_history():
    model = Counting()
    model.compile("sgd", "mse", jit_compile=False)
    history = model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    with pytest.raises(ValueError, match="cardinality"):
        model.fit(np.ones((4, 2)), np.ones((3, 1)), verbose=0)
    assert model.history is history


class Bare:
    """A callback that is no `keras.callbacks.Callback`, with nothing after a step."""


@pytest.mark.parametrize(
    ("callback", "minds"),
    [
        (Watch(async_safe=True), False),
        (Watch(async_safe=False), True),
        (keras.callbacks.EarlyStopping(), False),
        (keras.callbacks.TerminateOnNaN(), True),
        (keras.callbacks.ProgbarLogger(), False),
        (keras.callbacks.ModelCheckpoint("a.keras"), False),
        (keras.callbacks.ModelCheckpoint("a.keras", save_freq=2), True),
        (Bare(), False),
        (keras.callbacks.LambdaCallback(on_train_batch_end=print), True),
    ],
)
def test_who_minds_later_steps(callback, minds):
    assert minds_later_steps(callback) is minds


def test_keras_itself_waits():
    """For the logs of each step, whoever is safe: here a number tells it."""

    class Log:
        read = 0

        def __float__(self):
            Log.read += 1
            return 0.0

    class Safe(keras.callbacks.Callback):
        async_safe = True

    waits = keras.callbacks.CallbackList([Safe()])
    for step in range(3):
        waits.on_train_batch_end(step, {"loss": Log()})
        assert Log.read == step + 1
