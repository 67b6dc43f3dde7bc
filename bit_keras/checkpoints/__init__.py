"""Published weight files: a network's architecture and named tensors, both ways."""

from bit_keras.checkpoints.names import Architecture
from bit_keras.checkpoints.read import Checkpoint, read_checkpoint
from bit_keras.checkpoints.write import write_npz, write_safetensors

__all__ = [
    "Architecture",
    "Checkpoint",
    "read_checkpoint",
    "write_npz",
    "write_safetensors",
]
