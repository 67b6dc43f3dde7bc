"""A BiT network with its head."""

import dataclasses
import numbers

import keras
from keras import ops

from bit_keras.checkpoints import names
from bit_keras.checkpoints.read import read_checkpoint
from bit_keras.checkpoints.saved_models import read_class_names, read_metadata
from bit_keras.errors import InputError
from bit_keras.models.backbone import BiTBackbone, wide_dtype
from bit_keras.models.presets import get_preset
from bit_keras.models.train_step import ReplicaTrainStep
from bit_keras.models.weights import assign_checkpoint, load_weights


@keras.saving.register_keras_serializable("bit_keras")
class ClassificationHead(keras.layers.Layer):
    """A dense layer that starts at zero and can change its number of classes.

    Args:
        num_features: Number of input features.
        num_classes: Number of logits; 0 hands the features on.
        **kwargs: Of `keras.layers.Layer`, such as `name` and `dtype`.
    """

    def __init__(self, num_features, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.num_features = num_features
        self.kernel = self.bias = None
        # The weights are made here and not in `build`, after which Keras lets no layer
        # exchange them.
        self.built = True
        self.reset(num_classes)

    def reset(self, num_classes):
        """Replaces the weights by zeros for `num_classes` classes."""
        del self.kernel, self.bias
        self.num_classes = num_classes
        self.kernel = self.bias = None
        if num_classes:
            self.kernel = self.add_weight(
                name="kernel",
                shape=(self.num_features, num_classes),
                initializer="zeros",
            )
            self.bias = self.add_weight(
                name="bias", shape=(num_classes,), initializer="zeros"
            )

    def call(self, inputs):
        if not self.num_classes:
            return inputs
        return ops.matmul(inputs, self.kernel) + self.bias

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.num_classes or self.num_features)

    def get_config(self):
        return {
            **super().get_config(),
            "num_features": self.num_features,
            "num_classes": self.num_classes,
        }


@keras.saving.register_keras_serializable("bit_keras")
class BiTClassifier(ReplicaTrainStep, keras.Model):
    """Images to logits: a `BiTBackbone`, the spatial mean, and a zero-initialised head.

    The mean and the head compute in float32 (or float64) under every dtype policy.

    Args:
        backbone: A `BiTBackbone`.
        num_classes: Number of logits, or 0 for the pooled features.
        class_names: A name for each class, or `None`. Kept with the model, for reports
            and predictions.
        image_size: Height and width in pixels that images are resized to for this model
            where nothing else is asked for, or `None`.
        **kwargs: Of `keras.Model`, such as `name`.

    Input: float images `(batch, height, width, 3)` in [-1, 1], of any height and width
    from 32 pixels, which may be dynamic.

    Output: `(batch, num_classes)` logits, or `(batch, 2048 * width)` features.

    Raises:
        InputError: If `num_classes` is negative or the class names do not fit it.

    Example:

    >>> model = BiTClassifier(BiTBackbone(depth=50), num_classes=10)
    >>> model(np.zeros((1, 64, 64, 3))).numpy().max()
    0.0
    >>> model.reset_head(37)

    Source: Kolesnikov et al., "Big Transfer", arXiv 1912.11370, section 3.
    """

    def __init__(
        self, backbone, num_classes, class_names=None, image_size=None, **kwargs
    ):
        if not isinstance(backbone, BiTBackbone):
            raise InputError(
                f"`backbone` must be a BiTBackbone. Received: {type(backbone).__name__}"
            )
        kwargs.setdefault("name", "bit_classifier")
        kwargs.setdefault("dtype", wide_dtype(backbone.dtype_policy))
        super().__init__(**kwargs)
        self.backbone = backbone
        self.pool = keras.layers.GlobalAveragePooling2D(name="pool", dtype=self.dtype)
        self.head = ClassificationHead(
            backbone.output_shape[-1],
            check_classes(num_classes, class_names),
            name="head",
            dtype=self.dtype,
        )
        self.class_names = list_names(class_names)
        self.image_size = image_size
        self.built = True

    @classmethod
    def from_checkpoint(cls, path, num_classes=None, dtype=None, **kwargs):
        """Makes the model that a published weight file holds.

        Args:
            path: A big_transfer or big_vision `.npz`, a big_transfer TF2 `.h5`, or a
                timm state dict as `.safetensors`.
            num_classes: If given and not that of the file, the head has as many
                classes and stays zero.
            dtype: Dtype or policy of the backbone.
            **kwargs: Of `BiTClassifier`.

        Returns:
            A `BiTClassifier`, its architecture found from the file alone.

        Raises:
            InputError: If the file is not a whole BiT checkpoint; says what is wrong.

        Example:

        >>> model = BiTClassifier.from_checkpoint("BiT-M-R50x1.npz", num_classes=10)
        """
        checkpoint = read_checkpoint(path)
        model = cls.from_architecture(
            checkpoint.architecture, num_classes, dtype, **kwargs
        )
        assign_checkpoint(model, checkpoint, new_head=num_classes is not None)
        return model

    @classmethod
    def from_preset(
        cls, name, num_classes=None, weights="published", dtype=None, **kwargs
    ):
        """Makes a published model; `bit_keras.list_presets()` names them all.

        Args:
            name: A preset's name, such as `"bit_m_r50x1"`, or the published one,
                `"BiT-M-R50x1"`.
            num_classes: If given and not that of the preset, the head has as many
                classes and stays zero.
            weights: `"published"` downloads the file once, checks and caches it; a path
                loads that file; `None` leaves random weights.
            dtype: Dtype or policy of the backbone.
            **kwargs: Of `BiTClassifier`; by default `image_size` is the preset's, and
                so are the `class_names` of a head with weights, where they are known.

        Returns:
            A `BiTClassifier`.

        Raises:
            InputError: If there is no such preset, if it has no public weights, or if
                the file holds another network; says which.
            RunError: If the download fails; says where to put the file by hand.

        Example:

        >>> model = BiTClassifier.from_preset("bit_m_r50x1", num_classes=10)
        """
        preset = get_preset(name)
        kwargs.setdefault("image_size", preset.image_size)
        path = preset.fetch() if weights == "published" else weights
        if path is not None and num_classes in (None, preset.architecture.num_classes):
            kwargs.setdefault("class_names", preset.class_names)
        model = cls.from_architecture(preset.architecture, num_classes, dtype, **kwargs)
        if path is not None:
            load_weights(model, path, new_head=num_classes is not None)
        return model

    @classmethod
    def from_saved_model(cls, path, dtype=None, **kwargs):
        """Makes the model that an export in the trainable form was made of.

        The weights are read, bit by bit; nothing of the SavedModel's graph is run.

        Args:
            path: The folder of a SavedModel that `export_saved_model` has written.
            dtype: Dtype or policy of the backbone; by default what was exported.
            **kwargs: Of `BiTClassifier`, in place of what was exported.

        Returns:
            A `BiTClassifier`, with a head if the export has one.

        Raises:
            InputError: If it is no such SavedModel.

        Example:

        >>> model = BiTClassifier.from_saved_model("exports/pets")
        """
        metadata = read_metadata(path)
        exported = {
            "class_names": read_class_names(path),
            "image_size": metadata["image_size"],
        }
        policy = dtype or metadata["policy"]
        return cls.from_checkpoint(path, dtype=policy, **{**exported, **kwargs})

    @classmethod
    def from_architecture(cls, architecture, num_classes=None, dtype=None, **kwargs):
        """Makes a randomly initialised model of an `Architecture`.

        Args:
            architecture: A `bit_keras.checkpoints.names.Architecture`.
            num_classes: In place of the architecture's, if given.
            dtype: Dtype or policy of the backbone.
            **kwargs: Of `BiTClassifier`.

        Returns:
            A `BiTClassifier`.
        """
        backbone = BiTBackbone(
            units=architecture.units, width=architecture.width, dtype=dtype
        )
        if num_classes is None:
            num_classes = architecture.num_classes
        return cls(backbone, num_classes, **kwargs)

    @property
    def num_classes(self):
        """Number of logits; 0 if the model returns pooled features."""
        return self.head.num_classes

    @property
    def architecture(self):
        """The `Architecture` of this network, with its number of classes."""
        return dataclasses.replace(
            self.backbone.architecture, num_classes=self.num_classes
        )

    def reset_head(self, num_classes, class_names=None):
        """Gives the model a new head of zeros; it has to be compiled again.

        Args:
            num_classes: Number of logits, or 0 for the pooled features.
            class_names: A name for each class, or `None`.

        Raises:
            InputError: If `num_classes` is negative or the class names do not fit it.
        """
        self.head.reset(check_classes(num_classes, class_names))
        self.class_names = list_names(class_names)
        # An optimizer that has seen the old head cannot update the new one, and what
        # was compiled still computes with the old one.
        self.optimizer = None
        self.compiled = False
        self.train_function = self.test_function = self.predict_function = None

    def call(self, images):
        return self.head(self.pool(self.backbone(images)))

    def features(self, images):
        """Returns the pooled features `(batch, 2048 * width)`, whatever the head."""
        return self.pool(self.backbone(images))

    def named_variables(self):
        """Returns the variables by published name, in the published order."""
        variables = self.backbone.named_variables()
        if self.num_classes:
            variables[names.HEAD_KERNEL] = self.head.kernel
            variables[names.HEAD_BIAS] = self.head.bias
        return variables

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_classes or self.head.num_features)

    def get_config(self):
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "class_names": self.class_names,
            "image_size": self.image_size,
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        backbone = keras.saving.deserialize_keras_object(
            config["backbone"], custom_objects=custom_objects
        )
        return cls(**{**config, "backbone": backbone})


def check_classes(num_classes, class_names):
    """Returns `num_classes` if it is possible and has as many names, or raises."""
    if not isinstance(num_classes, numbers.Integral) or num_classes < 0:
        raise InputError(
            "`num_classes` must be a positive integer, or 0 for pooled features. "
            f"Received: {num_classes!r}"
        )
    if isinstance(class_names, str):
        raise InputError(f"`class_names` must be a list. Received: {class_names!r}")
    if class_names is not None and len(class_names) != num_classes:
        raise InputError(
            f"`class_names` must name each of {num_classes} classes. "
            f"Received: {len(class_names)} names"
        )
    return int(num_classes)


def list_names(class_names):
    """Returns class names as a list of strings, which a config can hold."""
    return None if class_names is None else list(map(str, class_names))
