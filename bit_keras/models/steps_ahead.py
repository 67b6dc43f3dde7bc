"""Callbacks of `fit` that do not hold up the device.

After each step Keras reads its logs, for which it waits until the device has computed
it; only then it launches the next one, and until that has reached a GPU it idles. (With
TensorFlow it does so for callbacks that are `async_safe`, too.)
"""

import collections
import concurrent.futures
import time

import keras
import tensorflow as tf

# Steps that are launched before the logs of one are waited for. With one the device has
# always something to do; more would hold the memory of more batches.
AHEAD = 1
HOOKS = ("on_batch_end", "on_train_batch_end")


class StepsAhead(keras.callbacks.CallbackList):
    """Hands the logs of a step to callbacks when the next one has been launched.

    It is so where no callback minds, see `minds_later_steps`; else it is Keras's own
    list. Every callback is called for every step, the steps in order and from one
    thread. But `on_train_batch_begin` is called for a step before `on_train_batch_end`
    for the one before it, and a callback that stops the training stops it one step
    later. All steps of an epoch were told of before its tests and its end.

    Args:
        model: A `DistributedFit`.
        callbacks: As in `fit`.
        verbose: As in `fit`.
        epochs: As in `fit`.
    """

    def __init__(self, model, callbacks, verbose, epochs):
        # Of Keras's class all else is made when training begins: `fit` knows the number
        # of steps then, and until then callbacks are not to be told of the model.
        most = keras.config.max_epochs()
        self._later = {
            "callbacks": callbacks,
            "add_history": True,
            "add_progbar": verbose != 0,
            "model": model,
            "verbose": verbose,
            "epochs": min(epochs, most) if most else epochs,
        }
        self._is_ahead = not any(map(minds_later_steps, tf.nest.flatten(callbacks)))
        # One thread, which does no more than to copy numbers to the host.
        self._reader = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._launched = collections.deque()

    def on_train_begin(self, logs=None):
        super().__init__(**self._later, steps=self._later["model"].num_batches)
        super().on_train_begin(logs)

    def on_train_batch_end(self, batch, logs=None):
        if not self._is_ahead:
            super().on_train_batch_end(batch, logs)
            return
        # The copy is asked for at once: after the next step was launched it would wait
        # for that one, too.
        self._launched.append((batch, self._reader.submit(_on_host, logs)))
        self._hand_on(AHEAD)

    def on_test_begin(self, logs=None):
        self.catch_up()
        super().on_test_begin(logs)

    def on_epoch_end(self, epoch, logs=None):
        self.catch_up()
        super().on_epoch_end(epoch, logs)

    def catch_up(self):
        """Waits for all steps that were launched, and tells callbacks of them."""
        self._hand_on(0)

    def close(self):
        """Ends what reads logs; no step may follow."""
        self._launched.clear()
        self._reader.shutdown()

    def _hand_on(self, number_left):
        while len(self._launched) > number_left:
            batch, reading = self._launched.popleft()
            try:
                logs, self.model.step_ended = reading.result()
                super().on_train_batch_end(batch, logs)
            except BaseException:
                # Whoever ended the run is told of nothing that came after.
                self._launched.clear()
                raise


def minds_later_steps(callback):
    """Returns whether a callback may expect to find the weights of its step.

    It does not if it is `async_safe`, in the words of Keras, or if it does nothing
    after a step of training, or no more than to show it.
    """
    if getattr(callback, "async_safe", False):
        return False
    if isinstance(callback, keras.callbacks.ProgbarLogger):
        return False
    if isinstance(callback, keras.callbacks.ModelCheckpoint):
        return callback.save_freq != "epoch"
    return any(_has_own(callback, name) for name in HOOKS)


def _has_own(callback, name):
    """Returns whether a hook does something, unlike that of `keras.callbacks`."""
    hook = getattr(callback, name, None)
    plain = getattr(keras.callbacks.Callback, name)
    return hook is not None and getattr(hook, "__func__", None) is not plain


def _on_host(logs):
    """Returns logs as numbers, and when the device had computed them."""
    values = tf.nest.map_structure(
        lambda value: value.numpy() if tf.is_tensor(value) else value, logs or {}
    )
    return values, time.perf_counter()
