"""Checks of a recipe's values.

A check is a function of a name and a value. It returns the value as a plain Python one,
which JSON can hold, or raises `InputError`.
"""

import math
import numbers

from bit_keras.errors import InputError


def whole_number(least):
    """Returns a check for whole numbers from `least`."""

    def check(name, value):
        if not isinstance(value, numbers.Integral) or value < least:
            raise InputError(
                f"`{name}` must be a whole number of at least {least}. "
                f"Received: {value!r}"
            )
        return int(value)

    return check


def one_of(*choices):
    """Returns a check for one of several words, or of True and False."""

    def check(name, value):
        if value not in choices:
            known = ", ".join(map(str, choices))
            raise InputError(f"`{name}` must be one of {known}. Received: {value!r}")
        return value

    return check


def number(name, value):
    """Is a check for finite numbers."""
    if not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise InputError(f"`{name}` must be a number. Received: {value!r}")
    return float(value)


def positive(name, value):
    """Is a check for positive numbers."""
    if not isinstance(value, numbers.Real) or not 0 < value < math.inf:
        raise InputError(f"`{name}` must be a positive number. Received: {value!r}")
    return float(value)


def strength(name, value):
    """Is a check for numbers that switch something off where they are 0."""
    if not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
        raise InputError(
            f"`{name}` must be a positive number, or 0 for none. Received: {value!r}"
        )
    return float(value)


def boundaries(name, value):
    """Is a check for steps in increasing order."""
    try:
        steps = tuple(whole_number(0)(name, step) for step in value)
    except TypeError:
        steps = None
    if steps is None or list(steps) != sorted(steps):
        raise InputError(
            f"`{name}` must be steps in increasing order. Received: {value!r}"
        )
    return steps
