"""How long a step takes, how much memory it needs, and what the machine can do."""

import dataclasses
import os
import pathlib
import platform
import re
import sys
import time

import numpy as np
import tensorflow as tf

# A measurement lasts as long at least, so that neither the clock nor the wait for the
# device at its end matters.
LEAST_SECONDS = 0.1
# Repetitions of a step that seems to take no time at all.
MOST_REPEATS = 1024
# A size is worth doubling while the rate grows by this factor.
WORTHWHILE = 1.05

NO_FASTER = f"twice the size is not {WORTHWHILE - 1:.0%} faster"
OUT_OF_MEMORY = "more does not fit into the memory"
NO_ROOM = "twice the size may not fit into the memory"
AT_LARGEST = "no larger size is tried"


@dataclasses.dataclass(frozen=True)
class Timing:
    """How long a step took.

    Args:
        first_seconds: Seconds of the very first step, tracing and compiling included.
        seconds: Seconds of a step by measurement, after all that is done once.
    """

    first_seconds: float
    seconds: tuple[float, ...]

    @property
    def median(self):
        """Median of the seconds."""
        return float(np.median(self.seconds))

    @property
    def spread(self):
        """10th and 90th percentile of the seconds."""
        return tuple(np.percentile(self.seconds, (10, 90)).tolist())


def time_steps(step, measurements, *, clock=time.perf_counter, done=lambda: None):
    """Measures how long a step takes once everything is compiled and allocated.

    Args:
        step: Called without arguments. It starts one step and returns a tensor, which
            may come later: its `numpy()` waits for the device, and so for all steps
            that were started before. A small one, for it is copied to the host.
        measurements: How often to measure. Each one is of a single step, or of as many
            short ones, started without a wait between them, as take a tenth of a
            second.
        clock: Returns seconds.
        done: Called without arguments after each measurement.

    Returns:
        A `Timing`.
    """

    def seconds_of(repeats):
        start = clock()
        for _ in range(repeats):
            result = step()
        result.numpy()
        return (clock() - start) / repeats

    first = seconds_of(1)
    # Not reckoned from one step: a pipeline may have a few batches ready, which take no
    # time at all. This also warms up what still grows in the second step.
    repeats = 1
    while repeats * seconds_of(repeats) < LEAST_SECONDS and repeats < MOST_REPEATS:
        repeats *= 2
    seconds = []
    for _ in range(measurements):
        seconds.append(seconds_of(repeats))
        done()
    return Timing(first, tuple(seconds))


def double_while_faster(measure, start, largest, has_room=lambda measured: True):
    """Finds the size at which a machine works the fastest.

    Args:
        measure: Maps a size to an object with a `rate`, which the more the better; may
            raise `tf.errors.ResourceExhaustedError`.
        start: The first size. If memory does not suffice for it, it is halved until it
            does.
        largest: The largest size to try.
        has_room: Whether twice the size of what was measured may be tried.

    Returns:
        A list of what was measured, in order; and why the search has ended, in words.
        The list is empty if even a size of 1 needs too much memory.
    """
    size, measured, limit = start, [], AT_LARGEST
    while True:
        try:
            measured.append(measure(size))
        except tf.errors.ResourceExhaustedError:
            if measured or size == 1:
                return measured, OUT_OF_MEMORY
            size = largest = size // 2
            limit = OUT_OF_MEMORY
            continue
        if len(measured) > 1 and measured[-1].rate < WORTHWHILE * measured[-2].rate:
            return measured, NO_FASTER
        if 2 * size > largest:
            return measured, limit
        if not has_room(measured[-1]):
            return measured, NO_ROOM
        size *= 2


@dataclasses.dataclass(frozen=True)
class MatrixRate:
    """How fast a device multiplies two square matrices.

    Args:
        size: Rows and columns of each.
        rate: Floating point operations in a second; a multiplication and its addition
            are two.
        seconds: Seconds of a product.
    """

    size: int
    rate: float
    seconds: float


def matrix_rate(dtype, largest, measurements=5):
    """Returns the best `MatrixRate` of the device, over sizes that double.

    All sizes are tried that do not take seconds. A search that ends at the first size
    that is no faster would too often be ended by other work on the machine.

    Args:
        dtype: Name of the dtype of the matrices and of their product.
        largest: Largest number of rows and columns, at least 512.
        measurements: How often to measure each size.
    """

    def measure(size):
        matrix = tf.cast(tf.random.stateless_normal((size, size), (0, 0)), dtype)
        # One value, or else the wait would be for half a gigabyte to reach the host.
        timing = time_steps(lambda: (matrix @ matrix)[0, 0], measurements)
        return MatrixRate(size, 2 * size**3 / timing.median, timing.median)

    size, measured = 512, [measure(512)]
    # Twice the size takes eight times as long.
    while 2 * size <= largest and measured[-1].seconds < 0.5:
        size *= 2
        measured.append(measure(size))
    return fastest(measured)


def fastest(measured):
    """Returns that of a list of measurements with the highest `rate`."""
    return max(measured, key=lambda one: one.rate)


class GpuMemory:
    """The peak of memory that TensorFlow's allocator has handed out on the first GPU.

    It counts what XLA reserves, and not what the driver and its libraries take.
    """

    described_as = "the GPU's allocator"

    def reset(self):
        """Begins anew with what is allocated now."""
        tf.config.experimental.reset_memory_stats("GPU:0")

    def peak(self):
        """Returns bytes."""
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]

    def has_room(self, num_bytes):
        """Returns True: a GPU says in time that there is no more."""
        return True


class ProcessMemory:
    """The peak of physical memory that this process, with all its libraries, has held.

    That includes what earlier work has left. Linux alone can begin anew; elsewhere it
    is the peak since the process started.
    """

    described_as = "the process, with what earlier work has left in it"

    def reset(self):
        """Begins anew with what is held now, where the system can."""
        try:
            pathlib.Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return

    def peak(self):
        """Returns bytes, or `None` where the system does not tell."""
        try:
            status = pathlib.Path("/proc/self/status").read_text()
        except OSError:
            status = ""
        if found := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE):
            return 1024 * int(found[1])
        try:
            import resource
        except ImportError:  # Windows has no such module.
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak

    def has_room(self, num_bytes):
        """Returns whether the machine, or the container, has so much memory at all.

        A system that runs out of it stops the process without a word.
        """
        memory = memory_of_machine()
        return memory is None or num_bytes < memory


def device_memory():
    """Returns what tells the memory of the device that TensorFlow computes on."""
    return GpuMemory() if has_gpu() else ProcessMemory()


def memory_of_machine():
    """Returns the bytes that this process can have, or `None` if nobody tells."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        limit = pathlib.Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def has_gpu():
    """Returns whether TensorFlow computes on a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))


def num_cores():
    """Returns how many processor cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Linux alone lets a process be kept to some cores.
        return os.cpu_count() or 1


def processor():
    """Returns the name of the processor where Linux tells it, or else its kind."""
    kind = platform.processor() or platform.machine()
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return kind
    names = (line.split(":")[1].strip() for line in lines if "model name" in line)
    return next(names, kind)
