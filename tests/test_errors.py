"""What is said of failures."""

import pytest

from bit_keras.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such file"), "no such file"),
        (OSError("\n  it is gone\nand here is its stack"), "it is gone"),
        (AssertionError(), "AssertionError"),
        (KeyError(), "KeyError"),
    ],
)
def test_first_line(error, line):
    assert first_line(error) == line
