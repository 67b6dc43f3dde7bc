"""What a run says at its end."""

import pytest

from bit_keras.workflows.training import _advise


@pytest.mark.parametrize("share", [None, 0, 0.5])
def test_nothing_is_said_of_a_run_that_computes(share):
    said = []
    _advise(share, said.append)
    assert said == []


def test_a_run_that_waits_for_its_images_is_told_of():
    said = []
    _advise(0.724, said.append)
    [line] = said
    assert line.startswith("Training waited for its images 72 % of the time: more ")
