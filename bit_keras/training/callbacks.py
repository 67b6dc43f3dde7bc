"""What happens between the steps of a run besides training."""

import math
import time

import keras

from bit_keras.errors import RunError

# Without a number of steps, a checkpoint is written once as many seconds have passed.
CHECKPOINT_SECONDS = 600


class StopOnNaN(keras.callbacks.Callback):
    """Stops a run whose loss is no longer a number, which no later step could mend.

    Args:
        clock: The `Clock`.
    """

    # Keras does not wait for a step to end where no callback needs to.
    async_safe = True

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def on_train_batch_end(self, batch, logs=None):
        check_loss(logs["loss"], self.clock.step_after(batch))


def check_loss(loss, step):
    """Raises `RunError` unless the loss is finite."""
    if not math.isfinite(loss):
        raise RunError(
            f"The loss became {loss} at step {step}; try a lower learning rate, and "
            "check the images and the weights; the checkpoints before it are kept."
        )


class Clock(keras.callbacks.Callback):
    """Tells the number of steps of a run from those of an epoch.

    The optimizer knows it too, but to ask it is to wait for the device.

    Args:
        steps_per_epoch: Number of steps of a whole epoch.
        offset: Number of steps of the first epoch that were made before.
    """

    def __init__(self, steps_per_epoch, offset=0):
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self.offset = offset
        self.first_epoch = self.epoch = None

    def on_epoch_begin(self, epoch, logs=None):
        if self.first_epoch is None:
            self.first_epoch = epoch
        self.epoch = epoch

    def step_before(self, batch):
        """Returns how many steps were made before that of index `batch`."""
        offset = self.offset if self.epoch == self.first_epoch else 0
        return self.epoch * self.steps_per_epoch + offset + batch

    def step_after(self, batch):
        """Returns how many steps were made after that of index `batch`."""
        return self.step_before(batch) + 1


class RecordRows(keras.callbacks.Callback):
    """Notes what was measured after each epoch in the rows of a `Progress`.

    Args:
        progress: The `Progress`.
        clock: The `Clock`.
        learning_rate: Schedule; noted is the rate of the last step.
    """

    def __init__(self, progress, clock, learning_rate):
        super().__init__()
        self.progress = progress
        self.clock = clock
        self.learning_rate = learning_rate

    def on_epoch_end(self, epoch, logs=None):
        step = (epoch + 1) * self.clock.steps_per_epoch
        check_loss(logs["loss"], step)
        rate = float(self.learning_rate(step - 1))
        self.progress.step = step
        self.progress.rows.append({"step": step, "learning_rate": rate, **logs})


class SaveCheckpoints(keras.callbacks.Callback):
    """Writes a checkpoint now and then, and when somebody asks the run to stop.

    Args:
        checkpoints: The `Checkpoints`.
        progress: The `Progress`, brought up to date.
        clock: The `Clock`.
        interruption: The `Interruption`.
        every: Number of steps between checkpoints, beside those after each epoch;
            `None` for one whenever ten minutes have passed.
        alone: Whether there is no other worker.
    """

    def __init__(self, checkpoints, progress, clock, interruption, every, alone):
        super().__init__()
        self.checkpoints = checkpoints
        self.progress = progress
        self.clock = clock
        self.interruption = interruption
        self.every = every
        self.alone = alone
        self._seconds_before = progress.seconds
        self._start = self._last_time = time.monotonic()
        self._last_step = progress.step

    def on_train_batch_begin(self, batch, logs=None):
        if not batch:
            return  # What is due here was done at the end of the epoch before.
        step = self.clock.step_before(batch)
        if self.interruption.signal is not None:
            self.model.catch_up()  # A loss that is no number is kept from being saved.
            # Metrics are added up by all workers together, and the others are at work.
            self._save(step, with_metrics=self.alone)
            self._stop()
        elif self._is_due(step):
            # All workers ask for the loss, as it takes all of them to answer.
            check_loss(float(self.model.get_metrics_result()["loss"]), step)
            self._save(step, with_metrics=True)

    def on_epoch_end(self, epoch, logs=None):
        self._save(self.progress.step, with_metrics=False)
        self._stop()

    def _is_due(self, step):
        if self.every:
            return step // self.every > self._last_step // self.every
        # The clocks of several workers differ.
        return self.alone and time.monotonic() > self._last_time + CHECKPOINT_SECONDS

    def _save(self, step, with_metrics):
        now = time.monotonic()
        self.progress.step = step
        self.progress.seconds = self._seconds_before + now - self._start
        self._last_step, self._last_time = step, now
        self.checkpoints.save(self.model, self.progress, with_metrics)

    def _stop(self):
        self.interruption.raise_if_asked(
            f"run the same command again to go on after step {self.progress.step:,}."
        )


class RestoreMetrics(keras.callbacks.Callback):
    """Puts back the metrics of an epoch that had begun, once Keras has reset them.

    Args:
        restore: What `Checkpoints.restore` returns beside the progress.
    """

    def __init__(self, restore):
        super().__init__()
        self.restore = restore

    def on_epoch_begin(self, epoch, logs=None):
        if self.restore:
            self.restore()
            self.restore = None
