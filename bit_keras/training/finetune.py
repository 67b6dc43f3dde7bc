"""Fine-tuning by a recipe."""

import math

import keras

from bit_keras.errors import RunError
from bit_keras.progress import progress_bar
from bit_keras.training.progress import ShowProgress


def train(
    model, train_batches, test_batches, recipe, *, num_test_examples=0, progress=True
):
    """Trains a model for all steps of a recipe.

    Args:
        model: A `BiTClassifier`.
        train_batches: Endless `tf.data.Dataset` of (images `(batch, height, width, 3)`
            in [-1, 1], one-hot labels `(batch, classes)`).
        test_batches: Finite data set of the same, evaluated after epochs of
            `recipe.fit_args()`; or `None`.
        recipe: A `HyperRule`.
        num_test_examples: Number of examples in `test_batches`. If given, they are
            evaluated only so often that training sees at least as many images as
            evaluation does.
        progress: Whether to show a progress bar.

    Returns:
        A dict of equally long lists, an entry for each epoch: `step` and
        `learning_rate` at its end, the means of `loss` and `accuracy` over it, and
        `val_loss` and `val_accuracy` after it, `None` where they were not measured.

    Raises:
        RunError: If the loss stops being a number.
    """
    fit_args = recipe.fit_args()
    model.compile(**recipe.compile_args())
    images_per_epoch = fit_args["steps_per_epoch"] * recipe.batch_size
    every = max(1, math.ceil(num_test_examples / images_per_epoch))
    num_images = recipe.steps * recipe.batch_size
    with progress_bar("fine-tuning", num_images, " images", show=progress) as bar:
        history = model.fit(
            train_batches,
            validation_data=test_batches,
            validation_freq=every,
            callbacks=[StopOnNaN(), ShowProgress(bar, recipe.batch_size)],
            verbose=0,
            shuffle=False,  # The data set does it.
            **fit_args,
        ).history
    steps = [
        epoch * fit_args["steps_per_epoch"]
        for epoch in range(1, fit_args["epochs"] + 1)
    ]
    rates = [float(recipe.learning_rate(step - 1)) for step in steps]
    return {"step": steps, "learning_rate": rates} | {
        name: _spread(values, every, len(steps)) if name.startswith("val_") else values
        for name, values in history.items()
    }


def _spread(values, every, length):
    """Puts a value after each `every` entries, with `None` between them."""
    spread = [None] * length
    spread[every - 1 :: every] = values
    return spread


class StopOnNaN(keras.callbacks.Callback):
    """Stops a run whose loss is no longer a number, which no later step could mend."""

    def on_train_batch_end(self, batch, logs=None):
        loss = logs["loss"]
        if not math.isfinite(loss):
            step = int(self.model.optimizer.iterations)
            raise RunError(
                f"The loss became {loss} at step {step}; try a lower learning rate, "
                "and check the images and the weights."
            )
