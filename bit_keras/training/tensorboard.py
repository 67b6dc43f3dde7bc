"""What TensorBoard shows of a run."""

import keras
import tensorflow as tf

from bit_keras.errors import InputError

SHOWN_IMAGES = 16


class WriteSummaries(keras.callbacks.Callback):
    """Writes images as the network sees them, and scalars after each epoch.

    Args:
        folder: Where TensorBoard will look for them.
        batches: Training batches; images of the first one are shown.
        progress: The `Progress` of the run; the last of its rows is shown.

    Raises:
        InputError: If TensorBoard is not installed.
    """

    def __init__(self, folder, batches, progress):
        super().__init__()
        try:
            import tensorboard  # noqa: F401
        except ImportError:
            raise InputError(
                "Summaries need TensorBoard; install it by "
                "`pip install bit-keras[tensorboard]`, or leave them out."
            ) from None
        self.writer = tf.summary.create_file_writer(str(folder))
        self.batches = batches
        self.progress = progress

    def on_train_begin(self, logs=None):
        images, _ = next(iter(self.batches))
        with self.writer.as_default(step=0):
            tf.summary.image(
                "augmented images", (images + 1) / 2, max_outputs=SHOWN_IMAGES
            )

    def on_epoch_end(self, epoch, logs=None):
        row = dict(self.progress.rows[-1])
        with self.writer.as_default(step=row.pop("step")):
            for name, value in row.items():
                tf.summary.scalar(name, value)
        self.writer.flush()
