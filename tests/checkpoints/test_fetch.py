"""Downloads from a server of this machine that can be told to misbehave."""

import functools
import hashlib
import http.server
import io
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from bit_keras.checkpoints import fetch as fetch_module
from bit_keras.checkpoints.fetch import cache_folder, cached_path, fetch
from bit_keras.errors import InputError, RunError


def npz_bytes(seed=0):
    """Returns a small weight file, 100 kB of noise."""
    file = io.BytesIO()
    np.savez(file, kernel=np.random.default_rng(seed).normal(size=12_500))
    return file.getvalue()


BODY = npz_bytes()
OTHER_BODY = npz_bytes(seed=1)
HALF = len(BODY) // 2


class Server(http.server.ThreadingHTTPServer):
    """Serves `body`, and treats one request after the other as `faults` say.

    A fault is a dictionary with any of `status`, `body` (sent in place), `length`
    (announced in place of the true one), `cut` (bytes after which the connection ends),
    `stall` (bytes after which nothing comes), `delay` (seconds), `no_range` (always
    send everything), `no_if_range` (always continue) and `content_range` (in place).
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.version = {"ETag": '"1"'}
        self.faults = []
        self.requests = []
        self.released = threading.Event()

    def url(self, path="bit_models/BiT-M-R50x1.npz"):
        return f"http://127.0.0.1:{self.server_port}/{path}"

    @property
    def ranges(self):
        """The `Range` of each request so far."""
        return [headers["Range"] for headers in self.requests]


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append(self.headers)
        fault = server.faults.pop(0) if server.faults else {}
        time.sleep(fault.get("delay", 0))
        body, start = fault.get("body", server.body), self.start(fault)
        if "status" in fault or start > len(body) - 1:
            self.send_response(fault.get("status", 416))
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        for name, value in server.version.items():
            self.send_header(name, value)
        if start:
            content_range = f"bytes {start}-{len(body) - 1}/{len(body)}"
            content_range = fault.get("content_range", content_range)
            self.send_header("Content-Range", content_range)
        length = fault.get("length", len(body) - start)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        stop = fault.get("cut", fault.get("stall", len(body)))
        self.wfile.write(body[start:stop])
        if "stall" in fault:
            self.wfile.flush()
            server.released.wait(20)

    def start(self, fault):
        """Returns the first byte to send, as the headers ask for it."""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        version = self.headers.get("If-Range", "")
        # A weak ETag never matches here.
        same = version in self.server.version.values() and version[:2] != "W/"
        if wanted and not fault.get("no_range") and (same or fault.get("no_if_range")):
            return int(wanted[1])
        return 0


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch_module, "RETRY_DELAYS", (0, 0))
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def quiet_fetch(tmp_path):
    return functools.partial(fetch, cache_dir=tmp_path, progress=False)


def in_cache(cache, suffix="", name="BiT-M-R50x1.npz"):
    return cache / "bit_models" / f"{name}{suffix}"


def names_in(cache):
    """Returns the names of the files below `cache`, but for locks."""
    names = {path.name for path in cache.rglob("*") if path.is_file()}
    return {name for name in names if not name.endswith(".lock")}


def assert_whole(path, body=BODY):
    """Checks that there are the file and its record and nothing else."""
    assert path.read_bytes() == body
    record = path.with_name(path.name + ".sha256")
    digest = hashlib.sha256(body).hexdigest()
    assert record.read_text() == f"{digest}  {path.name}\n"
    assert names_in(path.parent) == {path.name, record.name}


def assert_helpful(error, url, path):
    """Checks that a failed download tells how to get the file by hand."""
    message = str(error)
    assert url in message
    assert str(path) in message
    assert "`weights=`" in message
    assert "\n" not in message


# The cache.


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.delenv("BIT_KERAS_HOME", raising=False)
    assert cache_folder() == tmp_path / ".keras" / "bit_keras"
    monkeypatch.setenv("HOME", str(tmp_path / "missing"))
    assert cache_folder() == pathlib.Path("/tmp/.keras/bit_keras")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert cache_folder() == tmp_path / "keras" / "bit_keras"
    monkeypatch.setenv("BIT_KERAS_HOME", str(tmp_path / "bit"))
    assert cache_folder() == tmp_path / "bit"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("bit_models/BiT-M-R50x1.npz", "bit_models/BiT-M-R50x1.npz"),
        ("bit_models/distill/R50x1_224.npz", "bit_models/distill/R50x1_224.npz"),
        ("bit_models/vtab/R50x1_224.npz", "bit_models/vtab/R50x1_224.npz"),
        ("a/b/c/d.npz", "b/c/d.npz"),
        ("d.npz?version=1", "d.npz"),
        ("a%20b/d.npz", "a b/d.npz"),
    ],
)
def test_cached_path(path, expected):
    url = f"https://host.test/{path}"
    assert cached_path(url, "/cache") == pathlib.Path("/cache") / expected


@pytest.mark.parametrize(
    "url",
    [
        "gs://bit_models/BiT-M-R50x1.npz",
        "BiT-M-R50x1.npz",
        "https://host.test",
        "https://host.test/folder/",
        "https://host.test/a/../b.npz",
        "https://host.test/a/%2e%2e/b.npz",
        "https://host.test/a/..%2Fb.npz",
    ],
)
def test_not_the_address_of_a_file(url):
    with pytest.raises(InputError, match="`url` must be the http"):
        fetch(url)


def test_download_into_the_folder_of_the_environment(server, monkeypatch, tmp_path):
    monkeypatch.setenv("BIT_KERAS_HOME", str(tmp_path / "new"))
    path = fetch(server.url(), progress=False)
    assert path == in_cache(tmp_path / "new")
    assert_whole(path)


def test_download_into_the_folder_of_keras(server, monkeypatch, tmp_path):
    monkeypatch.delenv("BIT_KERAS_HOME", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    path = fetch(server.url(), progress=False)
    assert path == in_cache(tmp_path / "bit_keras")
    assert_whole(path)


def test_second_call_does_not_ask_the_server(server, quiet_fetch):
    assert quiet_fetch(server.url()) == quiet_fetch(server.url())
    assert len(server.requests) == 1


def test_files_of_the_same_name_lie_apart(server, quiet_fetch):
    paths = {quiet_fetch(server.url(f"bit_models/{d}/R50x1.npz")) for d in "ab"}
    assert len(paths) == 2
    assert len(server.requests) == 2


# What the server may do.


def test_missing_file(server, quiet_fetch, tmp_path):
    server.faults = [{"status": 404}]
    with pytest.raises(RunError, match="HTTP 404") as raised:
        quiet_fetch(server.url())
    assert_helpful(raised.value, server.url(), in_cache(tmp_path))
    assert len(server.requests) == 1
    assert names_in(tmp_path) == set()


def test_offline(quiet_fetch, server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(
        RunError, match=r"\(\[Errno \d+\] Connection refused\)"
    ) as raised:
        quiet_fetch(server.url())
    assert_helpful(raised.value, server.url(), in_cache(tmp_path))


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_busy_server_is_asked_again(server, quiet_fetch, status):
    server.faults = [{"status": status}, {"status": status}]
    assert_whole(quiet_fetch(server.url()))


def test_busy_server_is_not_asked_forever(server, quiet_fetch):
    server.faults = [{"status": 503}] * 10
    with pytest.raises(RunError, match="HTTP 503"):
        quiet_fetch(server.url())
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("version", "if_range"),
    [
        ({"ETag": '"1"'}, '"1"'),
        ({"ETag": '"1"', "Last-Modified": "a date"}, '"1"'),
        ({"ETag": 'W/"1"', "Last-Modified": "a date"}, "a date"),
    ],
)
def test_cut_download_goes_on_where_it_stopped(server, quiet_fetch, version, if_range):
    server.version = version
    server.faults = [{"cut": HALF}, {"cut": HALF + 1000}]
    assert_whole(quiet_fetch(server.url()))
    assert server.ranges == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]
    assert {headers["If-Range"] for headers in server.requests[1:]} == {if_range}


def test_tries_start_anew_while_bytes_arrive(server, quiet_fetch):
    server.faults = [{"cut": 10_000 * (i + 1)} for i in range(9)]
    assert_whole(quiet_fetch(server.url()))
    assert len(server.requests) == 10


def test_cut_download_is_left_for_the_next_call(server, quiet_fetch, tmp_path):
    server.faults = [{"cut": HALF}] + [{"status": 503}] * 3
    with pytest.raises(RunError, match="HTTP 503"):
        quiet_fetch(server.url())
    assert in_cache(tmp_path, ".part").read_bytes() == BODY[:HALF]
    assert not in_cache(tmp_path).exists()
    assert_whole(quiet_fetch(server.url()))
    assert server.ranges[-1] == f"bytes={HALF}-"


def test_stalled_download_goes_on(server, quiet_fetch, monkeypatch):
    monkeypatch.setattr(fetch_module, "TIMEOUT", 0.2)
    server.faults = [{"stall": fetch_module.CHUNK}]
    assert_whole(quiet_fetch(server.url()))
    assert server.ranges == [None, f"bytes={fetch_module.CHUNK}-"]


def test_server_without_ranges_sends_all_again(server, quiet_fetch):
    server.faults = [{"cut": HALF}, {"no_range": True}]
    assert_whole(quiet_fetch(server.url()))


def test_without_a_version_nothing_is_continued(server, quiet_fetch):
    server.version = {}
    server.faults = [{"cut": HALF}]
    assert_whole(quiet_fetch(server.url()))
    assert server.ranges == [None, None]


@pytest.mark.parametrize("fault", [{}, {"no_if_range": True}])
def test_file_changes_between_two_tries(server, quiet_fetch, fault):
    server.faults = [{"cut": HALF}] + [{"status": 503}] * 3
    with pytest.raises(RunError):
        quiet_fetch(server.url())
    server.version, server.body = {"ETag": '"2"'}, OTHER_BODY
    server.faults = [fault]
    assert_whole(quiet_fetch(server.url()), OTHER_BODY)


@pytest.mark.parametrize("content_range", ["bytes 0-9/10", "nonsense"])
def test_wrong_range_is_not_appended(server, quiet_fetch, content_range):
    server.faults = [{"cut": HALF}, {"content_range": content_range}]
    assert_whole(quiet_fetch(server.url()))
    assert server.ranges == [None, f"bytes={HALF}-", None]


def leave_part(cache, content, version='"1"'):
    """Makes what a download that was cut leaves."""
    part = in_cache(cache, ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(content)
    in_cache(cache, ".part.etag").write_text(version)


def test_partial_file_that_lacks_nothing(server, quiet_fetch, tmp_path):
    leave_part(tmp_path, BODY)
    assert_whole(quiet_fetch(server.url()))
    assert len(server.requests) == 1


def test_partial_file_that_is_too_long(server, quiet_fetch, tmp_path):
    leave_part(tmp_path, BODY + b"more")
    assert_whole(quiet_fetch(server.url()))
    assert server.ranges == [f"bytes={len(BODY) + 4}-", None]


def test_announced_length_too_long(server, quiet_fetch, tmp_path):
    server.faults = [{"length": len(BODY) + 7, "no_range": True}] * 3
    with pytest.raises(RunError, match=f"{len(BODY)} of {len(BODY) + 7} bytes"):
        quiet_fetch(server.url())
    assert not in_cache(tmp_path).exists()


def test_announced_length_too_short(server, quiet_fetch, tmp_path):
    server.faults = [{"length": len(BODY) - 7}]
    with pytest.raises(RunError, match="not a whole .npz") as raised:
        quiet_fetch(server.url())
    assert_helpful(raised.value, server.url(), in_cache(tmp_path))
    assert names_in(tmp_path) == set()


def test_no_length_announced(server, quiet_fetch):
    server.faults = [{"length": None}]
    assert_whole(quiet_fetch(server.url()))


@pytest.mark.parametrize("position", [0, HALF, len(BODY) - 10])
def test_corrupted_body(server, quiet_fetch, tmp_path, position):
    wrong = bytearray(BODY)
    wrong[position] ^= 1
    server.faults = [{"body": bytes(wrong)}]
    with pytest.raises(RunError, match="not a whole .npz"):
        quiet_fetch(server.url())
    assert names_in(tmp_path) == set()
    assert_whole(quiet_fetch(server.url()))


def test_page_in_place_of_a_file(server, quiet_fetch, tmp_path):
    server.faults = [{"body": b"<html>Please log in</html>"}]
    with pytest.raises(RunError, match="not a whole .npz"):
        quiet_fetch(server.url())
    assert names_in(tmp_path) == set()


def test_other_kinds_of_file_have_no_checksums_inside(server, quiet_fetch):
    server.body = b"no zip"
    path = quiet_fetch(server.url("bit_models/BiT-M-R50x1.h5"))
    assert_whole(path, b"no zip")


# Files that were there before.


def test_file_put_by_hand_is_recorded(server, quiet_fetch, tmp_path):
    path = in_cache(tmp_path)
    path.parent.mkdir()
    path.write_bytes(OTHER_BODY)
    assert quiet_fetch(server.url()) == path
    assert_whole(path, OTHER_BODY)
    assert server.requests == []


def test_damaged_file_put_by_hand(server, quiet_fetch, tmp_path):
    path = in_cache(tmp_path)
    path.parent.mkdir()
    path.write_bytes(BODY[:HALF])
    with pytest.raises(InputError, match="not a whole .npz") as raised:
        quiet_fetch(server.url())
    assert str(path) in str(raised.value)
    assert names_in(tmp_path) == {path.name}
    path.unlink()
    assert_whole(quiet_fetch(server.url()))


def test_changed_file(server, quiet_fetch):
    path = quiet_fetch(server.url())
    path.write_bytes(OTHER_BODY)
    with pytest.raises(InputError, match="has changed") as raised:
        quiet_fetch(server.url())
    record = path.with_name(path.name + ".sha256")
    assert f"delete {record}" in str(raised.value)
    # The two ways out that the message offers.
    path.unlink()
    assert_whole(quiet_fetch(server.url()))
    path.write_bytes(OTHER_BODY)
    record.unlink()
    assert_whole(quiet_fetch(server.url()), OTHER_BODY)


def test_server_has_another_file_than_the_one_first_seen(server, quiet_fetch):
    path = quiet_fetch(server.url())
    path.unlink()
    server.body = OTHER_BODY
    record = path.with_name(path.name + ".sha256")
    with pytest.raises(RunError, match=f"delete {re.escape(str(record))}"):
        quiet_fetch(server.url())
    assert names_in(path.parent) == {record.name}
    record.unlink()
    assert_whole(quiet_fetch(server.url()), OTHER_BODY)


# The disk.


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="BIT_KERAS_HOME") as raised:
        fetch(server.url(), cache_dir=tmp_path / "file", progress=False)
    assert str(in_cache(tmp_path / "file")) in str(raised.value)
    assert server.requests == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk(server, quiet_fetch, tmp_path):
    part = in_cache(tmp_path, ".part")
    part.parent.mkdir()
    part.symlink_to("/dev/full")
    with pytest.raises(RunError, match="No space left on device"):
        quiet_fetch(server.url())
    assert len(server.requests) == 1
    assert not in_cache(tmp_path).exists()


# What a person sees.


def test_progress_bar(server, tmp_path, capsys):
    server.faults = [{"cut": HALF}]
    fetch(server.url(), cache_dir=tmp_path)
    out, err = capsys.readouterr()
    assert out == ""
    assert "BiT-M-R50x1.npz: 100%" in err
    # The second bar starts where the first one stopped.
    first_states = re.findall(r"(\d+)%.*? (\S+)/100k \[00:00<\?", err)
    assert first_states == [("0", "0.00"), ("50", "50.1k")]


def test_no_progress_bar(server, quiet_fetch, capsys):
    quiet_fetch(server.url())
    assert capsys.readouterr() == ("", "")


# Other processes. They skip the package's __init__ files, which import TensorFlow.

PROGRAM = """
import sys, types
for name in ("bit_keras", "bit_keras.checkpoints"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [name.replace(".", "/")]
from bit_keras.checkpoints.fetch import fetch
print(fetch(sys.argv[1], cache_dir=sys.argv[2], progress=False))
"""


def start_process(server, cache):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, server.url(), str(cache)],
        cwd=pathlib.Path(fetch_module.__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_of_two_processes_one_downloads(server, tmp_path):
    server.faults = [{"delay": 1}]
    processes = [start_process(server, tmp_path) for _ in range(2)]
    answers = [process.communicate(timeout=30) for process in processes]
    assert [out.strip() for out, _ in answers] == [str(in_cache(tmp_path))] * 2
    assert len(server.requests) == 1
    assert_whole(in_cache(tmp_path))
    assert sum("Waiting for another process" in err for _, err in answers) == 1


def test_interrupted_process_leaves_its_part(server, quiet_fetch, tmp_path):
    server.faults = [{"stall": fetch_module.CHUNK + 1000}]
    part = in_cache(tmp_path, ".part")
    with start_process(server, tmp_path) as process:
        deadline = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size == fetch_module.CHUNK):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=20)[1]
    assert part.read_bytes() == BODY[: fetch_module.CHUNK]
    assert not in_cache(tmp_path).exists()
    assert_whole(quiet_fetch(server.url()))
    assert server.ranges == [None, f"bytes={fetch_module.CHUNK}-"]
