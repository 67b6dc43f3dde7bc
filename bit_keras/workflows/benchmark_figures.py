"""What a benchmark says of one kind of work, and how it comes to that."""

import dataclasses
import functools

import tensorflow as tf

from bit_keras.errors import RunError
from bit_keras.progress import progress_bar
from bit_keras.workflows import measure


@dataclasses.dataclass(frozen=True)
class Figures:
    """What was measured of one kind of work.

    Args:
        batch_size: Images in a step.
        images_per_second: Those of the median step.
        step_ms: Median of the milliseconds of a step.
        step_ms_spread: Their 10th and 90th percentile.
        first_step_seconds: Seconds of the first step, tracing and compiling included.
        peak_memory: Bytes, or `None` where the system does not tell.
        peak_memory_kind: What they are the peak of.
        model_flops: Floating point operations of the network in a second; `None` for
            the input pipeline.
        matrix_share: These as a part of the machine's matrix rate.
        tried: (batch size, images in a second) of each size that was tried.
        search_ended: Why no larger batch was tried; `None` for a given size.
    """

    batch_size: int
    images_per_second: float
    step_ms: float
    step_ms_spread: tuple[float, float]
    first_step_seconds: float
    peak_memory: int | None
    peak_memory_kind: str
    model_flops: float | None = None
    matrix_share: float | None = None
    tried: tuple[tuple[int, float], ...] = ()
    search_ended: str | None = None

    @property
    def rate(self):
        """What a search for the best batch size compares."""
        return self.images_per_second


@dataclasses.dataclass(frozen=True)
class Bench:
    """How steps are measured.

    Args:
        steps: Number of measurements.
        batch_size: Images in a step, or `None` to search.
        batches: First and largest batch size of a search.
        progress: Whether to show progress bars.
    """

    steps: int
    batch_size: int | None
    batches: tuple[int, int]
    progress: bool = False

    def examine(self, mode, step_of, memory=None):
        """Returns the `Figures` of the given batch size, or else of the fastest one.

        Args:
            mode: What is measured, for the progress bar.
            step_of: Maps a batch size to a step, as `measure.time_steps` takes it.
            memory: `measure.GpuMemory` or `measure.ProcessMemory`; by default that of
                the device.

        Raises:
            RunError: If the batch, or even a single image, does not fit into memory.
        """
        memory = memory or measure.device_memory()
        measure_batch = functools.partial(self._measure, mode, step_of, memory)
        if self.batch_size:
            try:
                return measure_batch(self.batch_size)
            except tf.errors.ResourceExhaustedError as error:
                raise RunError(
                    f"A batch of {self.batch_size} does not fit into the memory for "
                    f"{mode}; give a smaller batch size."
                ) from error

        def has_room(figures):
            peak = figures.peak_memory
            return peak is None or memory.has_room(2 * peak)

        first, largest = self.batches
        tried, why = measure.double_while_faster(
            measure_batch, first, largest, has_room
        )
        if not tried:
            raise RunError(
                f"Not even one image fits into the memory for {mode}; give a smaller "
                "model or image size."
            )
        return dataclasses.replace(
            measure.fastest(tried),
            tried=tuple((one.batch_size, one.images_per_second) for one in tried),
            search_ended=why,
        )

    def _measure(self, mode, step_of, memory, batch_size):
        title = f"{mode}, batch of {batch_size}"
        with progress_bar(title, self.steps, " steps", show=self.progress) as bar:
            memory.reset()
            timing = measure.time_steps(
                step_of(batch_size), self.steps, done=bar.update
            )
        return Figures(
            batch_size=batch_size,
            images_per_second=batch_size / timing.median,
            step_ms=1e3 * timing.median,
            step_ms_spread=tuple(1e3 * seconds for seconds in timing.spread),
            first_step_seconds=timing.first_seconds,
            peak_memory=memory.peak(),
            peak_memory_kind=memory.described_as,
        )


def with_flops(figures, operations, matrix_flops):
    """Returns figures with what they are of the machine's matrix rate.

    Args:
        figures: `Figures`.
        operations: Floating point operations for one image.
        matrix_flops: The machine's, in a second.
    """
    flops = operations * figures.images_per_second
    return dataclasses.replace(
        figures, model_flops=flops, matrix_share=flops / matrix_flops
    )
