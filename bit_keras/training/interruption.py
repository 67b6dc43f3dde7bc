"""Signals that ask a run to stop, answered when its state can be kept."""

import contextlib
import signal

from bit_keras.errors import Interrupted


class Interruption:
    """Whether somebody has asked to stop.

    Args:
        signal: The number of the signal, or `None`.
    """

    def __init__(self):
        self.signal = None

    def raise_if_asked(self, kept):
        """Raises `Interrupted` once a signal has come; `kept` says what was kept."""
        if self.signal is not None:
            raise Interrupted(self.signal, kept)


@contextlib.contextmanager
def noticing_signals():
    """Yields an `Interruption` that SIGINT and SIGTERM set, in place of what they do.

    A second signal does at once what it would have done. Outside of the main thread,
    where Python lets nobody notice signals, it is never set.
    """
    interruption = Interruption()
    before = {}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def notice(number, frame):
        interruption.signal = number
        restore()

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, notice)
    except ValueError:  # Not in the main thread.
        pass
    try:
        yield interruption
    finally:
        restore()
