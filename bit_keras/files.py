"""Files that are either whole or not there."""

import contextlib
import os
import pathlib
import uuid

from bit_keras.errors import InputError, RunError


def make_folder(path):
    """Makes a folder, and those above it, where it is missing.

    Raises:
        InputError: If a file is in the way.
        RunError: If the folder cannot be made.
    """
    try:
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{path} is no folder: a file is in its place.") from error
    except OSError as error:
        raise RunError(f"Cannot make {path} ({error.strerror or error}).") from error


@contextlib.contextmanager
def replaced(path):
    """Gives a temporary path whose file takes the place of `path` at the end.

    The folder is made where it is missing. After an exception `path` is as it was.

    Args:
        path: String or `pathlib.Path` of the file to write.

    Returns:
        A context manager for the temporary path, in the same folder and with the same
        suffix.

    Raises:
        InputError: If `path` is a folder, or a file is in the place of its folder.
        RunError: If the file cannot be written.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise InputError(f"Cannot write {path}: it is a folder; give a file's name.")
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    make_folder(path.parent)
    try:
        yield temporary
        # Written to the disk before the name is: a loss of power leaves the old file.
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RunError(
            f"Cannot write {path} ({error.strerror or error}): make room, or give a "
            "folder that you may write to."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
