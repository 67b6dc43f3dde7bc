"""Measurements on a machine whose speed is known: a made-up one."""

import dataclasses
import sys

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.workflows import measure
from bit_keras.workflows.measure import Timing, double_while_faster, time_steps


class Device:
    """Computes steps one after another, while the program goes on.

    Args:
        durations: Seconds of each step; the last one is that of all further ones.
        launch: Seconds until the program can go on.
    """

    def __init__(self, durations, launch=0.0):
        self.durations = list(durations)
        self.launch = launch
        self.now = self.busy_until = 0.0

    def clock(self):
        return self.now

    def step(self):
        more = len(self.durations) > 1
        duration = self.durations.pop(0) if more else self.durations[0]
        self.now += self.launch
        self.busy_until = max(self.busy_until, self.now) + duration
        return self

    def numpy(self):
        self.now = max(self.now, self.busy_until)


def test_long_steps_are_measured_one_by_one_after_two():
    device, calls = Device([50, 30, 1, 4, 2, 3, 10]), []
    timing = time_steps(
        device.step, 5, clock=device.clock, done=lambda: calls.append(1)
    )
    assert timing == Timing(50, (1, 4, 2, 3, 10))
    assert timing.median == 3
    # Of 1, 2, 3, 4, 10: 0.4 of the way from 1 to 2, and 0.6 from 4 to 10.
    np.testing.assert_allclose(timing.spread, (1.4, 7.6))
    assert len(calls) == 5


def test_short_steps_queue_up_until_one_wait_at_the_end():
    # Waiting for each would give 0.04 seconds, and never waiting 0.01. Four are the
    # first power of two that takes a tenth of a second.
    device = Device([2.0, 0.03], launch=0.01)
    timing = time_steps(device.step, 3, clock=device.clock)
    assert timing.first_seconds == pytest.approx(2.01)
    np.testing.assert_allclose(timing.seconds, [(0.01 + 4 * 0.03) / 4] * 3)


def test_batches_that_were_ready_do_not_stretch_the_measurement():
    device = Device([1.0, 0.0, 0.0, 0.0, 2.0])
    timing = time_steps(device.step, 2, clock=device.clock)
    assert timing.seconds == (2.0, 2.0)
    assert device.now < 30


def test_steps_that_take_no_time_come_to_an_end():
    device = Device([0.0])
    assert time_steps(device.step, 2, clock=device.clock).seconds == (0.0, 0.0)


@dataclasses.dataclass
class Speed:
    size: int
    rate: float


def machine(rates):
    """Returns a measurement by a table; what it does not have needs too much memory."""

    def run(size):
        if size not in rates:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
        return Speed(size, rates[size])

    return run


@pytest.mark.parametrize(
    ("rates", "tried", "why"),
    [
        # 4 % faster is not worth it, whatever comes after.
        ({8: 100, 16: 150, 32: 156, 64: 999}, [8, 16, 32], measure.NO_FASTER),
        ({8: 100, 16: 80, 32: 999}, [8, 16], measure.NO_FASTER),
        ({8: 100, 16: 106, 32: 200, 64: 300}, [8, 16, 32, 64], measure.AT_LARGEST),
        ({8: 100, 16: 150}, [8, 16], measure.OUT_OF_MEMORY),
        ({8: 100}, [8], measure.OUT_OF_MEMORY),
        # Too large from the beginning: what has failed once is not tried again.
        ({2: 50, 1: 30}, [2], measure.OUT_OF_MEMORY),
        ({1: 30}, [1], measure.OUT_OF_MEMORY),
        ({}, [], measure.OUT_OF_MEMORY),
    ],
)
def test_sizes_double_while_that_is_faster_and_fits(rates, tried, why):
    measured, ended = double_while_faster(machine(rates), 8, 64)
    assert [one.size for one in measured] == tried
    assert ended == why


def test_sizes_stop_before_memory_runs_out():
    rates = {8: 100, 16: 200, 32: 400}
    measured, ended = double_while_faster(
        machine(rates), 8, 64, has_room=lambda one: one.size < 16
    )
    assert [one.rate for one in measured] == [100, 200]
    assert ended == measure.NO_ROOM


def test_other_failures_are_not_taken_for_a_lack_of_memory():
    def broken(size):
        raise tf.errors.InvalidArgumentError(None, None, "no such shape")

    with pytest.raises(tf.errors.InvalidArgumentError):
        double_while_faster(broken, 8, 64)


def test_fastest_of_all():
    speeds = [Speed(8, 100), Speed(16, 300), Speed(32, 290)]
    assert measure.fastest(speeds).size == 16


def test_matrix_rate_counts_multiplications_and_additions(monkeypatch):
    seconds = {512: 0.01, 1024: 0.1, 2048: 0.6}
    sizes = []

    def multiply(one, other):
        assert one.dtype == other.dtype == tf.bfloat16
        sizes.append(one.shape[0])
        return one

    def known_time(step, measurements):
        assert step().shape == ()
        return Timing(1.0, (seconds[sizes[-1]],) * measurements)

    monkeypatch.setattr(tf.Tensor, "__matmul__", multiply)
    monkeypatch.setattr(measure, "time_steps", known_time)
    best = measure.matrix_rate("bfloat16", 4096)
    # The next size would take about 5 seconds.
    assert sizes == [512, 1024, 2048]
    assert best.size == 2048
    # In each of the n * n results n products are added up.
    assert best.rate == pytest.approx(2048 * 2048 * (2048 + 2048) / 0.6)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can begin anew")
def test_peak_of_the_process_rises_and_begins_anew():
    memory = measure.ProcessMemory()
    memory.reset()
    before = memory.peak()
    # Much more than what other threads of the process take and give back meanwhile.
    ballast = np.ones(800_000_000, np.uint8)
    with_ballast = memory.peak()
    assert 700e6 < with_ballast - before < 1000e6
    del ballast
    # Linux counts in several places, to within some pages.
    assert memory.peak() == pytest.approx(with_ballast, abs=5e6)
    memory.reset()
    assert memory.peak() < with_ballast - 500e6


def test_room_is_what_the_machine_has(monkeypatch):
    monkeypatch.setattr(measure, "memory_of_machine", lambda: 1000)
    assert measure.ProcessMemory().has_room(999)
    assert not measure.ProcessMemory().has_room(1001)
    monkeypatch.setattr(measure, "memory_of_machine", lambda: None)
    assert measure.ProcessMemory().has_room(10**18)


def test_peak_of_a_gpu_is_that_of_its_allocator(monkeypatch):
    resets = []
    experimental = tf.config.experimental
    monkeypatch.setattr(experimental, "reset_memory_stats", resets.append)
    info = {"GPU:0": {"current": 1, "peak": 5}}
    monkeypatch.setattr(experimental, "get_memory_info", info.get)
    monkeypatch.setattr(measure, "has_gpu", lambda: True)
    memory = measure.device_memory()
    memory.reset()
    assert resets == ["GPU:0"]
    assert memory.peak() == 5
    assert memory.has_room(10**18)
