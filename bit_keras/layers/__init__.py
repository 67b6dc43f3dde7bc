"""The layers that BiT adds to Keras."""

from bit_keras.layers.group_norm import GroupNorm
from bit_keras.layers.max_pool import ZeroPaddedMaxPool2D
from bit_keras.layers.std_conv import StdConv2D

__all__ = ["GroupNorm", "StdConv2D", "ZeroPaddedMaxPool2D"]
