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


class StepsAhead(keras.callbacks.CallbackList):
    """Hands the logs of a step to callbacks when the next one has been launched.

    It is so where no callback minds: each is `async_safe`, in the words of Keras, or
    does nothing after a step of training. All other lists of callbacks work as Keras's
    own. Every callback is called for every step, in order, from one thread, and for the
    last one of an epoch before anything else.

    Args:
        callbacks: As in `fit`.
        **kwargs: Of `keras.callbacks.CallbackList`. The number of `steps` may follow
            later, as `steps_per_epoch` of the model.
    """

    def __init__(self, callbacks=None, **kwargs):
        super().__init__(callbacks, steps=None, **kwargs)
        given = tf.nest.flatten(callbacks or [])
        self._is_ahead = not any(map(minds_later_steps, given))
        # One thread, which does no more than to copy numbers to the host.
        self._reader = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._launched = collections.deque()

    def on_train_begin(self, logs=None):
        self.set_params({**self.params, "steps": self.model.steps_per_epoch})
        super().on_train_begin(logs)

    def on_train_batch_end(self, batch, logs=None):
        if not self._is_ahead:
            super().on_train_batch_end(batch, logs)
            return
        # The copy is asked for at once: after the next step was launched it would wait
        # for that one, too.
        self._launched.append((batch, self._reader.submit(_on_host, logs)))
        while len(self._launched) > AHEAD:
            self._hand_on()

    def on_test_begin(self, logs=None):
        self._hand_on_all()
        super().on_test_begin(logs)

    def on_epoch_end(self, epoch, logs=None):
        self._hand_on_all()
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs=None):
        self._hand_on_all()
        super().on_train_end(logs)
        self._reader.shutdown()

    def _hand_on(self):
        batch, reading = self._launched.popleft()
        logs, self.model.step_ended = reading.result()
        super().on_train_batch_end(batch, logs)

    def _hand_on_all(self):
        while self._launched:
            self._hand_on()


def minds_later_steps(callback):
    """Returns whether a callback may expect to find the weights of its step."""
    if getattr(callback, "async_safe", False):
        return False
    plain = keras.callbacks.Callback
    hooks = {
        name: getattr(plain, name) for name in ("on_batch_end", "on_train_batch_end")
    }
    return any(
        getattr(getattr(callback, name), "__func__", None) is not hook
        for name, hook in hooks.items()
    )


def _on_host(logs):
    """Returns logs as numbers, and when the device had computed them."""
    values = tf.nest.map_structure(
        lambda value: value.numpy() if tf.is_tensor(value) else value, logs or {}
    )
    return values, time.perf_counter()
