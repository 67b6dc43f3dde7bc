"""Losses of logits: of several labels an image, and of a student by its teacher."""

import keras
import tensorflow as tf
from keras import ops

from bit_keras.recipes import checks


@keras.saving.register_keras_serializable("bit_keras")
class SigmoidCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of each class, summed over classes, mean over examples.

    It is the loss of upstream training on sets with several labels an image. (Keras's
    `BinaryCrossentropy` has the mean over classes.)

    Args:
        **kwargs: Of `keras.losses.Loss`.

    Called with labels `(batch, classes)` in [0, 1] and logits of the same shape.

    Source: big_vision's `utils.py`, `sigmoid_xent`.
    """

    def __init__(self, name="sigmoid_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        losses = tf.nn.sigmoid_cross_entropy_with_logits(y_true, y_pred)
        return ops.sum(losses, axis=-1)


@keras.saving.register_keras_serializable("bit_keras")
class DistillationLoss(keras.losses.Loss):
    """Kullback-Leibler divergence of the student's classes from the teacher's.

    With p and q the softmax of the teacher's and the student's logits divided by the
    temperature t, it is t² Σ p (log p - log q): the factor keeps the size of its
    gradient the same for any t. It is the mean over examples, and 0 where the two
    agree.

    Args:
        temperature: Positive; the higher, the more the less likely classes count.
        **kwargs: Of `keras.losses.Loss`.

    Raises:
        InputError: If the temperature is not positive.

    Called with the teacher's logits `(batch, classes)` and the student's.

    Source: Hinton et al., "Distilling the knowledge in a neural network", arXiv
    1503.02531; Beyer et al., "Knowledge distillation: A good teacher is patient and
    consistent", arXiv 2106.05237. big_vision's `distance.py` takes p as at least 1e-8
    in log p: less than 1e-8 t² for each class, in what the student cannot change.
    """

    def __init__(self, temperature=1.0, name="distillation_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.temperature = checks.positive("temperature", temperature)

    def call(self, y_true, y_pred):
        teacher = ops.log_softmax(y_true / self.temperature)
        student = ops.log_softmax(y_pred / self.temperature)
        divergence = ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
        return self.temperature**2 * divergence

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}
