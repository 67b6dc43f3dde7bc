"""What a person sees while a model trains."""

import keras


class ShowProgress(keras.callbacks.Callback):
    """Moves one bar through a whole run, with the loss and the accuracies.

    Beside these is the share of the time for which steps waited for their images, where
    that is measured; like them, of the epoch so far.

    Args:
        bar: What `progress_bar` returns, counting images.
        batch_size: Number of images in a step.
        clock: The `Clock`.
        input_wait: The `InputWait`, called before this.
    """

    async_safe = True

    def __init__(self, bar, batch_size, clock, input_wait):
        super().__init__()
        self.bar = bar
        self.batch_size = batch_size
        self.clock = clock
        self.input_wait = input_wait
        self._shown = {}

    def on_train_batch_end(self, batch, logs=None):
        self._show(logs, ("loss", "accuracy"))
        self.bar.update(self.clock.step_after(batch) * self.batch_size - self.bar.n)

    def on_epoch_end(self, epoch, logs=None):
        self._show(logs, ("val_accuracy",))

    def _show(self, logs, names):
        self._shown |= {name: f"{logs[name]:.3f}" for name in names if name in logs}
        if self.input_wait.share is not None:
            self._shown["input_wait"] = f"{self.input_wait.share:.0%}"
        self.bar.set_postfix(self._shown, refresh=False)
