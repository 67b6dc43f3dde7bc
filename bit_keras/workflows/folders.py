"""Where the results of a job go."""

import pathlib

from bit_keras.errors import InputError
from bit_keras.files import make_folder

MODEL_FILE = "model.keras"
SAVED_MODEL_FOLDER = "saved_model"


def prepare_folder(path, overwrite):
    """Makes a folder for results, which must be empty unless `overwrite`."""
    path = check_folder(path, overwrite)
    make_folder(path)
    return path


def check_folder(path, overwrite):
    """Returns the path if `prepare_folder` can make it a place for results."""
    path = pathlib.Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; give the folder that results go to.")
    if path.exists() and any(path.iterdir()) and not overwrite:
        raise InputError(
            f"{path} is not empty; give another folder, or allow its results to be "
            "replaced with `overwrite`."
        )
    return path


def free_folder(path):
    """Returns the path, or the first of `path-2`, `path-3`, ... that holds nothing."""
    path = candidate = pathlib.Path(path)
    number = 1
    while candidate.is_file() or (candidate.is_dir() and any(candidate.iterdir())):
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
