"""Where the results of a job go."""

import json
import pathlib

from bit_keras.errors import InputError
from bit_keras.files import make_folder, replaced
from bit_keras.training.resume import Checkpoints

MODEL_FILE = "model.keras"
SAVED_MODEL_FOLDER = "saved_model"
HISTORY_FILE = "history.json"
TENSORBOARD_FOLDER = "tensorboard"
# Removed once a run has left all its results; until then it can go on.
CHECKPOINT_FOLDER = "checkpoints"


def prepare_folder(path, overwrite=False, configuration=None, makes=True):
    """Makes a folder for results.

    Args:
        path: The folder; it must be empty or not there yet.
        overwrite: Whether what is in it may be replaced.
        configuration: That of a run, whose own unfinished folder is used again.
        makes: Whether to make it, or only to check.

    Returns:
        The path.

    Raises:
        InputError: If a file is in its place, or what must not be replaced.
        RunError: If it cannot be made.
    """
    path = check_folder(path, overwrite)
    checkpoints = Checkpoints(path / CHECKPOINT_FOLDER)
    if checkpoints.configuration() is not None and not checkpoints.is_of(configuration):
        if not overwrite:
            checkpoints.claim(configuration or {})
        if makes:
            checkpoints.remove()
    if makes:
        make_folder(path)
    return path


def check_folder(path, overwrite=False):
    """Returns the path if it can be a place for results or for the rest of a run."""
    path = pathlib.Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; give the folder that results go to.")
    unfinished = Checkpoints(path / CHECKPOINT_FOLDER).configuration() is not None
    if _holds_something(path) and not unfinished and not overwrite:
        raise InputError(
            f"{path} is not empty; give another folder, or allow its results to be "
            "replaced with `overwrite`."
        )
    return path


def check_file(path, overwrite=False):
    """Raises `InputError` if a path cannot be that of a result in one file."""
    path = pathlib.Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the file that the result goes to.")
    if path.exists() and not overwrite:
        raise InputError(
            f"{path} exists; name another file, or allow it to be replaced with "
            "`overwrite`."
        )


def free_folder(path, configuration):
    """Returns a path that holds nothing, or the unfinished run of a configuration.

    Args:
        path: What to begin with; then come `path-2`, `path-3`, ...
        configuration: That of the run.
    """
    path = candidate = pathlib.Path(path)
    number = 1
    while _holds_something(candidate):
        if Checkpoints(candidate / CHECKPOINT_FOLDER).is_of(configuration):
            break
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _holds_something(path):
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def write_json(path, content):
    """Writes a JSON file, replaced at once, when it is whole."""
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
