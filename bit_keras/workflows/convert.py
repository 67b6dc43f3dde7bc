"""From one weight file to another."""

import pathlib

from bit_keras.checkpoints.read import read_checkpoint
from bit_keras.checkpoints.saved_models import is_saved_model
from bit_keras.checkpoints.write import write_npz, write_safetensors
from bit_keras.errors import InputError
from bit_keras.files import replaced
from bit_keras.models.classifier import BiTClassifier
from bit_keras.models.weights import save_npz, save_safetensors
from bit_keras.workflows.folders import MODEL_FILE
from bit_keras.workflows.models import open_model

TARGETS = (".npz", ".safetensors", ".weights.h5", ".keras")


def convert(source, target, overwrite=False):
    """Turns any readable checkpoint into any writable one.

    Args:
        source: A weight file that `BiTClassifier.from_checkpoint` takes, a `.keras`
            file, the folder of a run, or that of a SavedModel in the trainable form.
        target: The file to write; its suffix, one of `TARGETS`, chooses the layout:
            big_transfer's `.npz`, timm's `.safetensors`, or Keras's own two.
        overwrite: Whether an existing target is replaced.

    Returns:
        The `Architecture` of the network.

    Raises:
        InputError: If the source is damaged, the suffix is none of these, or the target
            exists.
        RunError: If the target cannot be written.

    Example:

    >>> convert("BiT-M-R50x1.npz", "bit_m_r50x1.safetensors")
    """
    source, target = pathlib.Path(source), pathlib.Path(target)
    if source.is_dir() and not is_saved_model(source):
        source /= MODEL_FILE
    suffix = next((s for s in TARGETS if target.name.endswith(s)), None)
    if suffix is None:
        raise InputError(
            f"The target must end in one of {', '.join(TARGETS)}. Received: {target}"
        )
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists; name another file, or pass --overwrite.")
    if source.suffix == ".keras" or suffix in (".weights.h5", ".keras"):
        return _convert_model(source, target, suffix)
    checkpoint = read_checkpoint(source)
    write = write_npz if suffix == ".npz" else write_safetensors
    write(target, checkpoint.architecture, checkpoint.tensors())
    return checkpoint.architecture


def _convert_model(source, target, suffix):
    """Converts by way of a model, where one side is a file of Keras's own."""
    if source.suffix == ".keras" or is_saved_model(source):
        model = open_model(source)
    else:
        model = BiTClassifier.from_checkpoint(source)
    if suffix == ".npz":
        save_npz(model, target)
    elif suffix == ".safetensors":
        save_safetensors(model, target)
    else:
        with replaced(target) as temporary:
            save = model.save if suffix == ".keras" else model.save_weights
            save(temporary)
    return model.architecture
