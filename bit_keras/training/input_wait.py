"""For which share of the time a model in training waits for its images."""

import time

import keras


class InputWait(keras.callbacks.Callback):
    """Adds up how long the steps of a run wait for their batches.

    A step waits until it has its batch: from when it asks for it, or from when the
    step before has ended, if that is later. A GPU is asked for a step while it still
    computes the one before, and copies of batches to it wait for that one, too: to ask
    may take long there and nothing is lost by it.

    The first step is left out: while it is compiled, batches are prepared ahead.

    Args:
        progress: The `Progress`, which keeps the sums over the whole run.

    Attributes:
        share: Of the time of the epoch so far, in [0, 1]; `None` where it is not
            measured.
    """

    async_safe = True

    def __init__(self, progress):
        super().__init__()
        self.progress = progress
        self.share = None

    def on_train_begin(self, logs=None):
        self._fetches = self.model.fetches
        self._is_first = True
        if self._fetches:
            self._fetches.clear()

    def on_epoch_begin(self, epoch, logs=None):
        self._waited = self._measured = 0.0
        self.share = None
        self._step_before = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        # Without a time, Keras has just waited for the losses, which a step ends with.
        ended = self.model.step_ended or time.perf_counter()
        if self._fetches:
            self._add(*self._fetches.popleft(), ended)
        self._step_before = ended

    def _add(self, asked, had, ended):
        """Adds a step that began to wait, had its batch and ended at these times."""
        if self._is_first:
            self._is_first = False
            return
        waited = max(0.0, had - max(asked, self._step_before))
        measured = ended - self._step_before
        self._waited += waited
        self._measured += measured
        self.progress.waited += waited
        self.progress.measured += measured
        if self._measured:
            self.share = self._waited / self._measured
