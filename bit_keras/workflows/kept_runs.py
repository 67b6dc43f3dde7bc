"""Jobs of many runs, whose finished ones are kept and never made again."""

import contextlib
import hashlib
import json
import pathlib
import re
import signal
import time

from bit_keras.errors import Interrupted
from bit_keras.files import make_folder
from bit_keras.workflows.folders import check_folder, write_json

RUNS_FOLDER = "runs"


class KeptRuns:
    """The runs of a job, each finished one in a file named after what decides it.

    So nothing stale is ever read, and runs of other settings need no other folder.

    Args:
        out_dir: Folder of the job, which may hold what an earlier call has left.
        total: Number of runs, for messages.
        overwrite: Whether the folder may hold something else.

    Raises:
        InputError: If it holds something else.
    """

    def __init__(self, out_dir, total, overwrite=False):
        self.out_dir = claim_folder(out_dir, overwrite)
        # The mark by which the folder is known as this job's.
        make_folder(self.out_dir / RUNS_FOLDER)
        self.total = total
        self.done = self.found = 0

    def get(self, configuration, make, *name):
        """Returns the result of a run, made now if it is not there.

        Args:
            configuration: All that decides the result, a dict of JSON's types.
            make: Makes the run; returns the result, a dict of JSON's types.
            *name: Words for the name of the file.
        """
        path = self.out_dir / RUNS_FOLDER / f"{file_name(*name, digest(configuration))}"
        path = path.with_name(f"{path.name}.json")
        if path.is_file():
            self.found += 1
        else:
            start = time.perf_counter()
            result = make()
            seconds = round(time.perf_counter() - start, 2)
            content = {"configuration": configuration, **result, "seconds": seconds}
            write_json(path, content)
        self.done += 1
        return json.loads(path.read_text(encoding="utf-8"))

    @contextlib.contextmanager
    def worded(self):
        """Tells how to go on if the body is interrupted."""
        try:
            yield
        except KeyboardInterrupt as error:
            kept = f"go on after {self.done} of {self.total} runs."
            raise Interrupted(
                signal.SIGINT, f"run the same command again to {kept}"
            ) from error

    def notes(self):
        """Returns what a report should say of the runs that were not made now."""
        if not self.found:
            return []
        return [f"{self.found} of {self.total} runs were finished before this call."]


def announce(paths, say):
    """Says where a report is, the contents of which it returns.

    Args:
        paths: Those of its JSON, Markdown and HTML files, and of a picture if there is
            one.
        say: Called with a line about each.
    """
    names = ("Figures", "Report as Markdown", "Report", "Picture")[: len(paths)]
    for what, path in zip(names, paths, strict=True):
        say(f"{what}: {path}")
    return json.loads(paths[0].read_text(encoding="utf-8"))


def claim_folder(out_dir, overwrite=False):
    """Returns the folder of a job, or raises `InputError` if it holds something else.

    Args:
        out_dir: The folder.
        overwrite: Whether it may.
    """
    out_dir = pathlib.Path(out_dir)
    is_ours = (out_dir / RUNS_FOLDER).is_dir()
    return check_folder(out_dir, overwrite or is_ours)


def file_name(*parts):
    """Returns a name that can be that of a file everywhere."""
    return re.sub(r"[^\w.+-]+", "-", "-".join(parts))


def digest(content):
    """Returns a few letters that differ where JSON contents differ."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
