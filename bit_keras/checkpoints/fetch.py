"""Downloads of published weight files, kept and checked in a cache.

A file gets its final name only when it is whole. Beside `<name>` may lie
`<name>.sha256` (its digest at first sight, in the format of `sha256sum`),
`<name>.part` with `<name>.part.etag` (what a cut download left, and which version of
the file it belongs to) and `<name>.lock` (held by the process that downloads).
"""

import contextlib
import hashlib
import http.client
import os
import pathlib
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile

from bit_keras.errors import InputError, RunError
from bit_keras.files import replaced
from bit_keras.progress import progress_bar

# Pauses in seconds before another try; they start anew whenever bytes have arrived.
RETRY_DELAYS = (0.5, 1, 2)
TIMEOUT = 30  # Seconds without a byte.
CHUNK = 1 << 16


class _DownloadError(Exception):
    """One try failed; `final` says that another one would fail alike."""

    def __init__(self, reason, final=False):
        super().__init__(reason)
        self.final = final


def cache_folder():
    """Returns the folder that keeps downloads.

    Returns:
        A `pathlib.Path`: `$BIT_KERAS_HOME`, or `bit_keras` in the folder of Keras:
        `$KERAS_HOME` or `~/.keras` (`/tmp/.keras` where the home is not writable).
    """
    own = os.environ.get("BIT_KERAS_HOME")
    if own:
        return pathlib.Path(own).expanduser()
    keras_home = os.environ.get("KERAS_HOME")
    if not keras_home:
        home = os.path.expanduser("~")
        keras_home = os.path.join(
            home if os.access(home, os.W_OK) else "/tmp", ".keras"
        )
    return pathlib.Path(keras_home).expanduser() / "bit_keras"


def cached_path(url, cache_dir=None):
    """Returns where the file of `url` is kept, whether it is there or not.

    Args:
        url: An http or https address.
        cache_dir: Folder in place of `cache_folder()`.

    Returns:
        A `pathlib.Path` that ends in the file's name and up to two folders of the
        address, because files of different folders share names.

    Raises:
        InputError: If `url` is not the address of a file.

    Example:

    >>> cached_path("https://storage.googleapis.com/bit_models/BiT-M-R50x1.npz", "/c")
    PosixPath('/c/bit_models/BiT-M-R50x1.npz')
    """
    address = urllib.parse.urlsplit(url)
    parts = urllib.parse.unquote(address.path).split("/")[1:][-3:]
    if address.scheme not in ("http", "https") or not {"", ".", ".."}.isdisjoint(
        parts or [""]
    ):
        raise InputError(
            f"`url` must be the http or https address of a file. Received: {url!r}"
        )
    folder = cache_folder() if cache_dir is None else pathlib.Path(cache_dir)
    return folder.joinpath(*parts)


def fetch(url, *, cache_dir=None, progress=True):
    """Returns a file of the web from the cache, downloaded if it is not there.

    A cut or interrupted download goes on where it stopped. Its length is checked, and
    the checksums inside an `.npz`; the SHA-256 digest is recorded at first sight and
    compared ever after. A file put into the cache by hand is checked and recorded
    likewise. Of several processes, one downloads and the others wait.

    Args:
        url: An http or https address.
        cache_dir: Folder in place of `cache_folder()`.
        progress: Whether to show a progress bar on standard error.

    Returns:
        The `pathlib.Path` of the whole file, `cached_path(url, cache_dir)`.

    Raises:
        InputError: If the cached file is damaged or has changed since it was recorded.
        RunError: If the download fails or the cache cannot be written.

    Example:

    >>> fetch("https://storage.googleapis.com/bit_models/BiT-M-R50x1.npz")
    PosixPath('/home/me/.keras/bit_keras/bit_models/BiT-M-R50x1.npz')
    """
    path = cached_path(url, cache_dir)
    try:
        # A recorded file is never written again, so that a read-only cache will do.
        if path.exists() and _beside(path, ".sha256").exists():
            _check(path)
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path):
            if path.exists():
                _check(path)
            else:
                part = _beside(path, ".part")
                _download(url, part, path, progress)
                _keep(url, part, path)
    except OSError as error:
        raise RunError(
            f"{path} could not be read or written ({error.strerror or error}): make "
            "room or set BIT_KERAS_HOME to a folder that you may write to."
        ) from error
    return path


def _beside(path, suffix):
    return path.with_name(path.name + suffix)


@contextlib.contextmanager
def _lock(path):
    """Holds the file's lock, and says so if that takes waiting for another process."""
    import filelock

    lock = filelock.FileLock(_beside(path, ".lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        from absl import logging

        logging.warning("Waiting for another process that downloads %s.", path.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download(url, part, path, progress):
    """Requests what `part` lacks until it is whole or the tries are used up."""
    reached, delays = _size(part), iter(RETRY_DELAYS)
    while True:
        try:
            return _receive(url, part, progress)
        except _DownloadError as error:
            if _size(part) > reached:
                reached, delays = _size(part), iter(RETRY_DELAYS)
            delay = None if error.final else next(delays, None)
            if delay is None:
                raise _failure(url, path, error) from error
        time.sleep(delay)


def _receive(url, part, progress):
    """Makes one request for what `part` lacks and appends what comes."""
    etag = _beside(part, ".etag")
    version = etag.read_text() if etag.exists() else ""
    start = _size(part) if version else 0
    with _open(url, start, version) as response:
        status = response.status
        if start and status in (206, 416):
            if response.headers.get("Content-Range") == f"bytes */{start}":
                return  # Nothing was lacking.
            if not _continues(response, start, version):
                _drop(part)
                raise _DownloadError("the file changed on the server")
        if status >= 400:
            final = status < 500 and status not in (408, 429)
            raise _DownloadError(f"HTTP {status} {response.reason}", final)
        _append(response, part, progress)


def _open(url, start, version):
    """Requests the file from byte `start` on and returns whatever response comes."""
    headers = {"User-Agent": "bit_keras", "Accept-Encoding": "identity"}
    if start:
        # Where the version has changed the server sends the whole file, status 200.
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    request = urllib.request.Request(url, headers=headers)
    with _network():
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            return error


def _append(response, part, progress):
    """Writes the body of a response to `part` and checks the length."""
    start, total = _span(response)
    with part.open("ab" if start else "wb") as file:
        if not start:
            # Not before: it must never stand beside the bytes of an older version.
            _beside(part, ".etag").write_text(_version(response.headers))
        with progress_bar(part.stem, total, "B", start, progress) as bar:
            for chunk in _chunks(response):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and _size(part) != total:
        raise _DownloadError(f"cut after {_size(part)} of {total} bytes")


@contextlib.contextmanager
def _network():
    """Tells errors of the network from those of the disk, both of them `OSError`."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        raise _DownloadError(reason) from error


def _chunks(response):
    """Yields the body piece by piece."""
    while True:
        with _network():
            chunk = response.read(CHUNK)
        if not chunk:
            return
        yield chunk


def _continues(response, start, version):
    """Tells whether a partial response goes on at `start` of the same version."""
    return _span(response)[0] == start and _version(response.headers) in ("", version)


def _span(response):
    """Returns (first byte of the body, length of the whole file or `None`)."""
    if response.status != 206:
        return 0, response.length
    pattern = r"bytes (\d+)-\d+/(\d+)"
    match = re.fullmatch(pattern, response.headers.get("Content-Range", ""))
    return tuple(map(int, match.groups())) if match else (None, None)


def _version(headers):
    """Returns what `If-Range` takes: a strong ETag, else the date, else nothing."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified", "")


def _size(part):
    return part.stat().st_size if part.exists() else 0


def _drop(part):
    """Forgets a partial download."""
    part.unlink(missing_ok=True)
    _beside(part, ".etag").unlink(missing_ok=True)


def _failure(url, path, reason):
    return RunError(
        f"{url} could not be downloaded ({reason}): try again when the address can be "
        f"reached, or put the file by hand at {path}, or give its path as `weights=`."
    )


def _keep(url, part, path):
    """Checks a finished download, records its digest and gives it its final name."""
    damage = _zip_damage(part) if path.suffix == ".npz" else None
    if damage:
        _drop(part)
        raise _failure(url, path, f"what came is not a whole .npz file: {damage}")
    digest, known = _sha256(part), _recorded_digest(path)
    if known not in (None, digest):
        _drop(part)
        raise RunError(
            f"{url} now has another file than the one first seen, with SHA-256 "
            f"{digest} in place of {known}: delete {_beside(path, '.sha256')} to "
            "accept it, or give the path of the first one as `weights=`."
        )
    _record(path, digest)
    os.replace(part, path)
    _drop(part)


def _check(path):
    """Compares a file of the cache with its record, or makes the record."""
    digest, known = _sha256(path), _recorded_digest(path)
    if known is None:
        damage = _zip_damage(path) if path.suffix == ".npz" else None
        if damage:
            raise InputError(
                f"{path} is not a whole .npz file: {damage}; put a whole one there, or "
                "delete it to have it downloaded."
            )
        _record(path, digest)
    elif digest != known:
        raise InputError(
            f"{path} has changed since it was first seen, with SHA-256 {digest} in "
            f"place of {known}: delete it to have it downloaded again, or delete "
            f"{_beside(path, '.sha256')} to accept it as it is."
        )


def _zip_damage(path):
    """Returns what is wrong with a zip file in a few words, or `None`."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.testzip()
    except Exception as error:  # zipfile documents no list of what bad bytes raise.
        return str(error) or type(error).__name__
    return member and f"the checksum of {member} is wrong"


def _sha256(path):
    """Returns the SHA-256 digest in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recorded_digest(path):
    """Returns the digest recorded for `path`, or `None`."""
    record = _beside(path, ".sha256")
    return record.read_text().partition(" ")[0] if record.exists() else None


def _record(path, digest):
    """Records the digest of `path` where `sha256sum --check` finds it."""
    with replaced(_beside(path, ".sha256")) as temporary:
        temporary.write_text(f"{digest}  {path.name}\n")
