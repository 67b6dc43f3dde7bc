"""The program `bit-keras`.

A module of its own beside the package: TensorFlow writes to the terminal while it is
imported, and importing any part of `bit_keras` imports it.
"""

import contextlib
import os
import sys
import tempfile


def main():
    """Runs the command line and exits with its status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silent_unless_it_fails():
        from bit_keras.cli.main import main as run

    sys.exit(run(sys.argv[1:]))


@contextlib.contextmanager
def _silent_unless_it_fails():
    """Holds back what is written to standard error, by C++ code too."""
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            os.write(terminal, held_back.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


if __name__ == "__main__":
    main()
