"""Where the results of a job go."""

import pathlib

from bit_keras.errors import InputError

MODEL_FILE = "model.keras"
SAVED_MODEL_FOLDER = "saved_model"


def prepare_folder(path, overwrite):
    """Makes a folder for results, which must be empty unless `overwrite`."""
    path = pathlib.Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; give the folder that results go to.")
    if path.exists() and any(path.iterdir()) and not overwrite:
        raise InputError(
            f"{path} is not empty; give another folder, or allow its results to be "
            "replaced with `overwrite`."
        )
    path.mkdir(parents=True, exist_ok=True)
    return path


def free_folder(path):
    """Returns the path, or the first of `path-2`, `path-3`, ... that is not there."""
    path = candidate = pathlib.Path(path)
    number = 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
