"""What a person sees while a model trains."""

import keras


class ShowProgress(keras.callbacks.Callback):
    """Moves one bar through a whole run, with the loss and the accuracies.

    Args:
        bar: What `progress_bar` returns, counting images.
        batch_size: Number of images in a step.
        clock: The `Clock`.
    """

    async_safe = True

    def __init__(self, bar, batch_size, clock):
        super().__init__()
        self.bar = bar
        self.batch_size = batch_size
        self.clock = clock
        self._shown = {}

    def on_train_batch_end(self, batch, logs=None):
        self._show(logs, ("loss", "accuracy"))
        self.bar.update(self.clock.step_after(batch) * self.batch_size - self.bar.n)

    def on_epoch_end(self, epoch, logs=None):
        self._show(logs, ("val_accuracy",))

    def _show(self, logs, names):
        self._shown |= {name: f"{logs[name]:.3f}" for name in names if name in logs}
        self.bar.set_postfix(self._shown, refresh=False)
