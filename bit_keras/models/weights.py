"""Between a model's variables and published weight files, every tensor exactly once."""

import pathlib
import warnings

from keras import ops

from bit_keras.checkpoints import names
from bit_keras.checkpoints.read import read_checkpoint
from bit_keras.checkpoints.write import write_npz, write_safetensors
from bit_keras.errors import InputError, first_line


def load_weights(model, path, new_head=False):
    """Loads a weight file into a model; a failure leaves the model as it was.

    Args:
        model: A `BiTClassifier` or `BiTBackbone`.
        path: A big_transfer or big_vision `.npz`, a big_transfer TF2 `.h5`, a timm
            state dict as `.safetensors`, or a Keras `.weights.h5` of the same model.
        new_head: Whether the model is meant to keep its own head where that of the file
            has another number of classes; by default a warning says that it does.

    Raises:
        InputError: If the file is damaged or holds another network; says which.

    Example:

    >>> load_weights(model, "BiT-M-R50x1.npz")
    """
    if str(path).endswith(".weights.h5"):
        _load_keras_weights(model, path)
    else:
        assign_checkpoint(model, read_checkpoint(path), new_head)


def assign_checkpoint(model, checkpoint, new_head=False):
    """Copies the tensors of a `Checkpoint` into the variables of a model.

    Args:
        model: A `BiTClassifier` or `BiTBackbone`.
        checkpoint: The `Checkpoint`.
        new_head: As in `load_weights`.

    Raises:
        InputError: If the checkpoint holds another network, before anything is copied.
    """
    held, wanted = checkpoint.architecture, model.architecture
    for note in checkpoint.notes:
        warnings.warn(note, stacklevel=3)
    if (held.units, held.width) != (wanted.units, wanted.width):
        raise InputError(_describe_mismatch(checkpoint, wanted))
    variables = model.named_variables()
    if wanted.num_classes not in (0, held.num_classes):
        if not new_head:
            warnings.warn(
                f"{checkpoint.path.name} holds {held}: its head is left out, and the "
                f"model's own for {wanted.num_classes} classes stays as it is.",
                stacklevel=3,
            )
        for name in (names.HEAD_KERNEL, names.HEAD_BIAS):
            del variables[name]
    for name, tensor in checkpoint.tensors():
        if name in variables:
            variable = variables[name]
            variable.assign(tensor.reshape(variable.shape).astype(variable.dtype))
    getattr(model, "backbone", model).origin = checkpoint.origin()


def _describe_mismatch(checkpoint, wanted):
    """Says what a checkpoint holds in place of the wanted architecture."""
    held_shapes, wanted_shapes = checkpoint.architecture.shapes(), wanted.shapes()
    name = next(
        name
        for name in [*wanted_shapes, *held_shapes]
        if held_shapes.get(name) != wanted_shapes.get(name)
    )
    return (
        f"{checkpoint.path.name} holds {checkpoint.architecture}, but the model is "
        f"{wanted}: {name} has shape {held_shapes.get(name, 'none')} in the file and "
        f"{wanted_shapes.get(name, 'none')} in the model; make the model with "
        "`BiTClassifier.from_checkpoint` or give another file."
    )


def _load_keras_weights(model, path):
    if not pathlib.Path(path).is_file():
        raise InputError(f"{path} is not there; give a weight file.")
    # Keras may stop half-way through the variables.
    before = [ops.convert_to_numpy(variable) for variable in model.variables]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The error says it all.
            model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)
        raise InputError(
            f"{path} is not a whole weight file of this model ({model.architecture}). "
            f"Keras says: {first_line(error)}"
        ) from error


def save_npz(model, path):
    """Writes a model's weights in the published layout, for every other BiT code.

    Args:
        model: A `BiTClassifier` or `BiTBackbone`.
        path: The `.npz` file to write; replaced at once, when it is whole.

    Example:

    >>> save_npz(model, "my-model.npz")
    """
    write_npz(path, model.architecture, _published_tensors(model))


def save_safetensors(model, path):
    """Writes a model's weights as a timm state dict.

    Args:
        model: A `BiTClassifier` or `BiTBackbone`.
        path: The `.safetensors` file to write; replaced at once, when it is whole.

    Raises:
        InputError: If the library `safetensors` is not installed.
    """
    write_safetensors(path, model.architecture, _published_tensors(model))


def _published_tensors(model):
    shapes = model.architecture.shapes()
    for name, variable in model.named_variables().items():
        yield name, ops.convert_to_numpy(variable).reshape(shapes[name])
