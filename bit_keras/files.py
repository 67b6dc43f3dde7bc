"""Files that are either whole or not there."""

import contextlib
import pathlib
import uuid

from bit_keras.errors import InputError, RunError


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
        InputError: If `path` is a folder.
        RunError: If the file cannot be written.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise InputError(f"Cannot write {path}: it is a folder; give a file's name.")
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise RunError(
            f"Cannot write {path} ({error.strerror or error}): make room, or give a "
            "folder that you may write to."
        ) from error
    finally:
        # Not there after success, nor where even its folder could not be made.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
