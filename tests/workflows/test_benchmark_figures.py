"""Figures that follow from known times and a known memory."""

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.errors import RunError
from bit_keras.workflows import measure
from bit_keras.workflows.benchmark_figures import Bench, with_flops
from bit_keras.workflows.measure import Timing


class FakeMemory:
    """Needs a megabyte for each image; the machine has `total`."""

    described_as = "a made-up machine"

    def __init__(self, total=1000):
        self.total = total

    def reset(self):
        self.batch_size = None

    def peak(self):
        return self.batch_size

    def has_room(self, amount):
        return amount <= self.total


@pytest.fixture
def known_times(monkeypatch):
    """Lets a step of n images take n / images-per-second of a table."""

    def use(rates, memory, spread=(0.9, 1.0, 1.3)):
        def step_of(batch_size):
            if batch_size not in rates:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM")
            memory.batch_size = batch_size
            return batch_size

        def time_steps(batch_size, measurements, done):
            seconds = batch_size / rates[batch_size]
            return Timing(9.0, tuple(seconds * factor for factor in spread))

        monkeypatch.setattr(measure, "time_steps", time_steps)
        return step_of

    return use


def test_figures_of_a_given_batch(known_times):
    memory = FakeMemory()
    step_of = known_times({16: 32.0}, memory)
    figures = Bench(3, 16, (8, 64)).examine("train", step_of, memory)
    assert figures.images_per_second == 32
    assert figures.step_ms == 500
    # Of 450, 500 and 650 ms.
    np.testing.assert_allclose(figures.step_ms_spread, (460, 620))
    assert figures.first_step_seconds == 9
    assert (figures.peak_memory, figures.peak_memory_kind) == (16, "a made-up machine")
    assert (figures.tried, figures.search_ended) == ((), None)


def test_figures_of_the_fastest_batch(known_times):
    memory = FakeMemory()
    step_of = known_times({8: 100.0, 16: 200.0, 32: 180.0, 64: 900.0}, memory)
    figures = Bench(3, None, (8, 64)).examine("infer", step_of, memory)
    assert (figures.batch_size, figures.peak_memory) == (16, 16)
    assert figures.tried == ((8, 100.0), (16, 200.0), (32, 180.0))
    assert figures.search_ended == measure.NO_FASTER


def test_search_leaves_room_for_the_rest_of_the_machine(known_times):
    memory = FakeMemory(total=31)
    step_of = known_times({8: 100.0, 16: 200.0, 32: 400.0}, memory)
    figures = Bench(3, None, (8, 64)).examine("infer", step_of, memory)
    assert [size for size, _ in figures.tried] == [8, 16]
    assert figures.search_ended == measure.NO_ROOM


def test_too_little_memory_is_said_in_a_sentence(known_times):
    memory = FakeMemory()
    step_of = known_times({}, memory)
    with pytest.raises(RunError, match="A batch of 16 does not fit .* smaller batch"):
        Bench(3, 16, (8, 64)).examine("train", step_of, memory)
    with pytest.raises(RunError, match="Not even one image fits .* smaller model"):
        Bench(3, None, (8, 64)).examine("train", step_of, memory)


def test_share_of_the_matrix_rate(known_times):
    memory = FakeMemory()
    figures = Bench(3, 16, (8, 64)).examine(
        "t", known_times({16: 250.0}, memory), memory
    )
    figures = with_flops(figures, operations=8e9, matrix_flops=40e12)
    assert figures.model_flops == 2e12
    assert figures.matrix_share == 0.05
