"""SavedModels as one file, which `hub.load` takes from an address."""

import gzip
import pathlib
import tarfile

from bit_keras.files import replaced

# Weights hardly get any smaller; more effort would only take longer.
COMPRESSION = 1


def write_archive(folder, path):
    """Packs a SavedModel as a `.tar.gz` that `hub.load(url)` accepts.

    Its files lie at the root of the archive. The same files always give the same bytes:
    they are in the order of their names, without dates and owners.

    Args:
        folder: The SavedModel.
        path: The file to write; it appears when it is whole.

    Returns:
        The path, as `pathlib.Path`.

    Raises:
        RunError: If the file cannot be written.
    """
    folder, path = pathlib.Path(folder), pathlib.Path(path)
    with (
        replaced(path) as temporary,
        open(temporary, "wb") as file,
        gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        names = (member.relative_to(folder) for member in folder.rglob("*"))
        for name in sorted(name.as_posix() for name in names):
            archive.add(folder / name, name, recursive=False, filter=_plain)
    return path


def _plain(member):
    """Drops what differs from one machine or day to another."""
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o644
    return member
