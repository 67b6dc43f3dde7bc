"""A student that learns to answer as its teacher does."""

import keras

from bit_keras.errors import InputError
from bit_keras.models.train_step import ReplicaTrainStep


class Distiller(ReplicaTrainStep, keras.Model):
    """A student in training: its labels are the logits of a teacher.

    Both see the same images, crop, flip and MixUp included. The teacher is neither
    trained nor saved.

    Args:
        student: A built Keras model, images to logits; a `BiTClassifier` most likely.
        teacher: Any Keras model, images in [-1, 1] to logits of as many classes.
        **kwargs: Of `keras.Model`.

    Compile it with a `Distillation` recipe; accuracy is still that of the labels.

    Raises:
        InputError: If the two differ in the number of classes.

    Example:

    >>> distiller = Distiller(student, teacher)
    >>> train(distiller, source, Distillation("pet_fast", num_examples=3680))
    >>> student.save("student.keras")

    Source: Beyer et al., "Knowledge distillation: A good teacher is patient and
    consistent", arXiv 2106.05237.
    """

    def __init__(self, student, teacher, **kwargs):
        super().__init__(**kwargs)
        _check_classes(student, teacher)
        self.student = student
        # Not an attribute that is a layer, which would be tracked, trained and saved.
        self._teach = lambda images: teacher(images, training=False)
        self.built = True

    def call(self, images, training=False):
        return self.student(images, training=training)

    def compute_output_shape(self, input_shape):
        return self.student.compute_output_shape(input_shape)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        """Returns the loss with the teacher's logits in the place of the labels."""
        return super().compute_loss(x, self._teach(x), y_pred, sample_weight, training)


def _check_classes(student, teacher):
    shape = (None, 224, 224, 3)
    classes = [model.compute_output_shape(shape)[-1] for model in (student, teacher)]
    if classes[0] != classes[1]:
        raise InputError(
            "Student and teacher must have the same classes. Received: a student of "
            f"{classes[0]} and a teacher of {classes[1]}"
        )
