"""What is off, unless code that calls layers turns it on for a while."""

import contextlib
import contextvars


class Switch:
    """A choice that holds within a context, in its thread alone.

    Args:
        name: What it is called.
    """

    def __init__(self, name):
        self._state = contextvars.ContextVar(name, default=False)

    def is_on(self):
        """Returns whether it is on now."""
        return self._state.get()

    @contextlib.contextmanager
    def turned(self, on):
        """Turns it on or off until the context ends."""
        token = self._state.set(on)
        try:
            yield
        finally:
            self._state.reset(token)
