"""BiT's network with other components: BN or GN, with or without standardization."""

import keras

import bit_keras
from bit_keras.models.backbone import (
    BiTBackbone,
    ResidualUnit,
    check_architecture,
    connect,
    wide_dtype,
)

VARIANTS = ("BN", "GN", "BN+WS", "GN+WS")


@keras.saving.register_keras_serializable("bit_in_miniature")
class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalization and ReLU, to be called as `GroupNorm(activation="relu")` is.

    Args:
        momentum: Share of the moving averages that a step keeps. Keras's 0.99 would
            still hold the initial values at the end of a run of a hundred steps.
        epsilon: Added to the variance.
        **kwargs: Of `keras.layers.BatchNormalization`.
    """

    def __init__(self, momentum=0.9, epsilon=1e-5, **kwargs):
        super().__init__(momentum=momentum, epsilon=epsilon, **kwargs)

    def call(self, inputs, hands_on=False, training=None):
        """Normalizes; with `hands_on` returns the inputs, too, for a residual sum."""
        y = keras.ops.relu(super().call(inputs, training=training))
        return (y, inputs) if hands_on else y


@keras.saving.register_keras_serializable("bit_in_miniature")
class BatchNormUnit(ResidualUnit):
    """A `ResidualUnit` with `BatchNorm` in the places of its `GroupNorm`."""

    def __init__(self, channels, strides=1, **kwargs):
        super().__init__(channels, strides, **kwargs)
        for part in "abc":
            norm = BatchNorm(name=f"{part}_batch_norm", dtype=self.dtype_policy)
            setattr(self, f"norm_{part}", norm)


@keras.saving.register_keras_serializable("bit_in_miniature")
class ComponentBackbone(BiTBackbone):
    """`BiTBackbone` with other components.

    Args:
        variant: `"BN"`, `"GN"`, `"BN+WS"` or `"GN+WS"`; the last one is BiT.
        units: Number of residual units in each of the four blocks.
        width: Factor on all channels.
        dtype: Name of a dtype or policy, or a policy.
        trainable: Whether the network is trained.
        **kwargs: Of `keras.Model`, such as `name`.

    For a seed all variants begin with the same kernels.

    Raises:
        InputError: If there is no such variant or network.

    Example:

    >>> backbone = ComponentBackbone("BN", units=(2, 2, 2, 2))
    >>> model = bit_keras.BiTClassifier(backbone, num_classes=10)
    """

    def __init__(self, variant, units, width=1, dtype=None, trainable=True, **kwargs):
        norm, standardizes = components_of(variant)
        architecture = check_architecture(None, width, units)
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        images = keras.Input((None, None, 3), dtype=wide_dtype(policy), name="images")
        kwargs.setdefault("name", "component_backbone")
        layers = {}
        if norm == "BN":
            # The name by which BiTBackbone finds it, whatever its kind.
            last_norm = BatchNorm(name="group_norm", dtype=policy)
            layers = {"unit_class": BatchNormUnit, "last_norm": last_norm}
        # Not BiTBackbone's, which would connect GroupNorm, but Keras's behind it.
        super(BiTBackbone, self).__init__(
            images, connect(images, architecture, policy, **layers), **kwargs
        )
        self.dtype_policy = policy
        self.variant = variant
        self.units = architecture.units
        self.width = architecture.width
        self.origin = None
        self.trainable = trainable
        for convolution in self.convolutions():
            convolution.standardizes = standardizes

    def get_config(self):
        return {**super().get_config(), "variant": self.variant}


def components_of(variant):
    """Returns ("BN" or "GN", whether kernels are standardized) of a variant's name.

    Raises:
        InputError: If there is no such variant.
    """
    if variant not in VARIANTS:
        raise bit_keras.InputError(
            f"A variant must be one of {', '.join(VARIANTS)}. Received: {variant!r}"
        )
    norm, _, standardized = variant.partition("+")
    return norm, bool(standardized)
