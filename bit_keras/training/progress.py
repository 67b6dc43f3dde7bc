"""What a person sees while a model trains."""

import keras

from bit_keras.progress import progress_bar


class ProgressBar(keras.callbacks.Callback):
    """One bar for a whole run: images, images per second, time left, and metrics.

    Args:
        num_steps: Number of optimizer steps of the run.
        batch_size: Number of images in a step.
    """

    def __init__(self, num_steps, batch_size):
        super().__init__()
        self.num_steps = num_steps
        self.batch_size = batch_size
        self._shown = {}

    def on_train_begin(self, logs=None):
        num_images = self.num_steps * self.batch_size
        self._bar = progress_bar("fine-tuning", num_images, " images")

    def on_train_batch_end(self, batch, logs=None):
        self._show(logs, ("loss", "accuracy"))
        self._bar.update(self.batch_size)

    def on_epoch_end(self, epoch, logs=None):
        self._show(logs, ("val_accuracy",))

    def on_train_end(self, logs=None):
        self._bar.close()

    def _show(self, logs, names):
        self._shown |= {name: f"{logs[name]:.3f}" for name in names if name in logs}
        self._bar.set_postfix(self._shown, refresh=False)
