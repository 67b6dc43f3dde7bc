"""Where a SavedModel of this package keeps its weights, and what is said about them."""

import contextlib
import functools
import json
import pathlib
import re

import tensorflow as tf

from bit_keras.checkpoints.containers import SAVED_MODEL_FILE, StoredTensor
from bit_keras.errors import InputError

# A folder that TensorFlow leaves to others; nothing in it is part of the graph.
METADATA_FILE = "assets.extra/bit_keras.json"
CLASS_NAMES_FILE = "assets/class_names.txt"
# The root of an export has `weights`: its variables by their canonical names.
_KEY = re.compile(r"weights/(.+)/\.ATTRIBUTES/VARIABLE_VALUE")
_VARIABLES = "variables/variables"


def is_saved_model(path):
    """Tells whether a path is the folder of a SavedModel."""
    return (pathlib.Path(path) / SAVED_MODEL_FILE).is_file()


def read_metadata(path):
    """Returns what an export says about itself.

    Args:
        path: The folder of a SavedModel that `export_saved_model` has written.

    Returns:
        A dict: `architecture`, `outputs`, `input_range`, `form`, `policy`, `origin`,
        `recipe`, `fingerprint`, `deviation`, versions, and more.

    Raises:
        InputError: If this package has not written it.
    """
    path = pathlib.Path(path)
    try:
        metadata = json.loads((path / METADATA_FILE).read_text(encoding="utf-8"))
        metadata["form"], metadata["architecture"]["units"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} is no SavedModel of bit_keras: {METADATA_FILE} in it is missing "
            "or damaged; give a folder that `export_saved_model` has written."
        ) from error
    return metadata


def read_class_names(path):
    """Returns the class names of an export, or `None` if it has none."""
    path = pathlib.Path(path) / CLASS_NAMES_FILE
    if not path.is_file():
        return None
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def weights_file(path):
    """Returns the file in a SavedModel's folder that holds all values of variables."""
    return pathlib.Path(path, f"{_VARIABLES}.data-00000-of-00001")


@contextlib.contextmanager
def open_saved_model(path):
    """Yields the tensors of a SavedModel; nothing of its graph is run or even read."""
    if read_metadata(path)["form"] != "trainable":
        raise InputError(
            "it is a SavedModel in the serving form, whose kernels are standardized "
            "for good; export the model with form=`trainable`, which can be read back"
        )
    yield list(stored_tensors(path).values())


def stored_tensors(path):
    """Returns {name: `StoredTensor`} of the variables of an export."""
    reader = tf.train.load_checkpoint(str(pathlib.Path(path, _VARIABLES)))
    dtypes = reader.get_variable_to_dtype_map()
    stored = {}
    for key, shape in sorted(reader.get_variable_to_shape_map().items()):
        if match := _KEY.fullmatch(key):
            name, read = _unescaped(match[1]), functools.partial(reader.get_tensor, key)
            stored[name] = StoredTensor(name, tuple(shape), dtypes[key].name, read)
    return stored


def _unescaped(key):
    """Undoes what TensorFlow does to names in the keys of a checkpoint."""
    return key.replace(".S", "/").replace("..", ".")
