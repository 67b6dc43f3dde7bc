"""The two layers that BiT adds to Keras."""

from bit_keras.layers.group_norm import GroupNorm
from bit_keras.layers.std_conv import StdConv2D

__all__ = ["GroupNorm", "StdConv2D"]
