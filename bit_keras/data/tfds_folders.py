"""Prepared TFDS sets in their folders, by the versions that will do."""

import contextlib
import pathlib

from bit_keras.data.tfds import prepare
from bit_keras.errors import InputError


def prepared_folder(name, versions, data_dir=None):
    """Returns the folder of a prepared set, whatever TFDS itself would make today.

    Args:
        name: Name of the set, with that of the configuration, such as `"sun397/tfds"`.
        versions: Patterns of versions that will do, such as `"3.*.*"`, the best first.
        data_dir: Folder where TFDS keeps its sets; by default TFDS's own.

    Returns:
        A `pathlib.Path`, that of the latest version of the first pattern that there is
        one of; `None` if there is none.
    """
    import tensorflow_datasets as tfds

    root = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    found = {
        tfds.core.Version(info.parent.name): info.parent
        for info in (root / name).glob("*/dataset_info.json")
        if tfds.core.Version.is_valid(info.parent.name)
    }
    for pattern in versions:
        if matching := [version for version in found if version.match(pattern)]:
            return found[max(matching)]
    return None


def offered_builder(name, versions, data_dir=None):
    """Returns the builder of TFDS that makes a set in the best version that it can.

    Args:
        name: As in `prepared_folder`.
        versions: As in `prepared_folder`.
        data_dir: As in `prepared_folder`.

    Raises:
        InputError: If TFDS can make none of them.
    """
    import tensorflow_datasets as tfds

    data_dir = data_dir and pathlib.Path(data_dir).expanduser()
    for pattern in versions:
        # An AssertionError tells of a version that there is not.
        with contextlib.suppress(ValueError, AssertionError):
            return tfds.builder(f"{name}:{pattern}", data_dir=data_dir)
    raise InputError(
        f"This TFDS makes no version {' or '.join(versions)} of {name}; install one "
        "that does, or give the folder that holds the set as data_dir."
    )


def open_set(name, versions, data_dir=None, manual_dir=None):
    """Returns the builder of a set, downloaded and prepared where it is not there.

    Args:
        name: As in `prepared_folder`.
        versions: As in `prepared_folder`.
        data_dir: As in `prepared_folder`.
        manual_dir: Folder with what TFDS cannot download by itself.

    Raises:
        InputError: If TFDS can make none of the versions, or not without files that
            have to be downloaded by hand.
        RunError: If TFDS cannot download or prepare it.
    """
    import tensorflow_datasets as tfds

    if folder := prepared_folder(name, versions, data_dir):
        return tfds.builder_from_directory(folder)
    return prepare(name, offered_builder(name, versions, data_dir), manual_dir)


def missing_files(builder, split_name):
    """Returns the paths of the files that a part of a set lies in and that are gone.

    Args:
        builder: The builder of a prepared set.
        split_name: Name of the part.
    """
    pieces = builder.info.splits[split_name].file_instructions
    paths = dict.fromkeys(pathlib.Path(piece.filename) for piece in pieces)
    return [path for path in paths if not path.is_file()]
