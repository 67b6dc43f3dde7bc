"""The speed of BiT on the machine at hand: inference, training and input."""

import dataclasses
import functools
import gc

import keras
import tensorflow as tf

from bit_keras.data.load import rule_for, train_batches
from bit_keras.data.sources import naming_unreadable, open_source
from bit_keras.errors import InputError, RunError
from bit_keras.evaluation import describe_environment
from bit_keras.export.fold import computing_with
from bit_keras.models.backbone import check_architecture
from bit_keras.models.classifier import BiTClassifier
from bit_keras.models.presets import get_preset
from bit_keras.progress import progress_bar
from bit_keras.recipes.hyperrule import HyperRule
from bit_keras.workflows import measure
from bit_keras.workflows.folders import check_file, write_json
from bit_keras.workflows.models import is_path, open_model

MODES = ("infer", "train", "pipeline")
# Classes where the model has no head.
NUM_CLASSES = 1000
# By default, on a GPU and without one: pixels, measurements, first and largest batch of
# a search, and the largest matrix. A search starts higher on a GPU, for which XLA takes
# long to compile each size.
ON_GPU = {"image_size": 224, "steps": 30, "batches": (32, 4096), "matrix": 16384}
ON_CPU = {"image_size": 128, "steps": 10, "batches": (8, 1024), "matrix": 4096}
# Of the pipeline where training has not found one.
PIPELINE_BATCH_SIZE = 64
# Multiplications by kernels in terms of those of the forward pass. As usual, the
# backward pass counts twice: for the gradients of kernels, and of activations.
PASSES = {"infer": 1, "train": 3}


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
class Benchmark:
    """What `benchmark` returns.

    Args:
        environment: Device, processor, cores and versions, by name.
        network: Short name of the network, such as `R50x1`.
        num_parameters: Number of its trained values.
        image_size: Height and width in pixels.
        precision: Name of the dtype policy.
        xla: Whether steps were compiled with XLA.
        dataset: Name of the set of the input pipeline, or `None`.
        matrix_size: Rows and columns of the matrices of the matrix rate.
        matrix_flops: Floating point operations in a second of their product, in the
            compute dtype of the policy; `None` for the input pipeline alone.
        modes: `Figures` by mode.
    """

    environment: dict
    network: str
    num_parameters: int
    image_size: int
    precision: str
    xla: bool
    dataset: str | None
    matrix_size: int | None
    matrix_flops: float | None
    modes: dict[str, Figures]

    def to_dict(self):
        """Returns all of it in JSON's types."""
        return dataclasses.asdict(self)


def benchmark(
    model=None,
    *,
    depth=None,
    width=None,
    modes=MODES,
    batch_size=None,
    image_size=None,
    precision="float32",
    xla=None,
    dataset="doodles",
    data_dir=None,
    steps=None,
    out=None,
    overwrite=False,
    progress=True,
):
    """Measures what this machine does in a second, on one device.

    The device is the first GPU, or else the processor. Inference runs the serving form,
    whose kernels are standardized once; training makes whole steps of the HyperRule.
    The images of both lie on the device already: reading, resizing and augmenting are
    measured by themselves, as `pipeline`, in batches of the size of training. Weights
    are random, whatever the model, since the speed does not depend on them.

    Args:
        model: A model as in `open_model`, of which the architecture and the image size
            are taken, and nothing is downloaded; or `None`.
        depth: Depth of the network where no model is given, by default 50.
        width: Its width, by default 1.
        modes: Some of `"infer"`, `"train"` and `"pipeline"`.
        batch_size: Images in a step, or `None` to double them as long as that makes it
            faster and memory suffices.
        image_size: Pixels, at least 32; by default the model's, or else 224 on a GPU
            and 128 without one.
        precision: Name of a dtype policy, such as `"mixed_bfloat16"`.
        xla: Whether to compile with XLA; by default as training does.
        dataset: Set of the pipeline, as in `load_dataset`.
        data_dir: Folder where TFDS keeps its sets.
        steps: Measurements of each figure, each of one step or of as many short ones as
            take a tenth of a second; by default 30 on a GPU and 10 without one.
        out: If given, the JSON file that the result is written to.
        overwrite: Whether a file that is there is replaced.
        progress: Whether to show progress bars.

    Returns:
        A `Benchmark`.

    Raises:
        InputError: If there is no such model, set or mode, or the file is there.
        RunError: If a batch does not fit into the memory.

    Example:

    >>> benchmark(depth=26, width=0.5, modes=["infer"]).modes["infer"].step_ms
    """
    _check_modes(modes)
    if out:
        check_file(out, overwrite)
    defaults = ON_GPU if measure.has_gpu() else ON_CPU
    architecture, usual_size = _network(model, depth, width)
    size = image_size or usual_size or defaults["image_size"]
    # Before there is anything to wait for.
    source = open_source(dataset, data_dir) if "pipeline" in modes else None
    compile_args = HyperRule(size, size, num_examples=1).compile_args()
    if xla is not None:
        compile_args["jit_compile"] = xla
    bench = Bench(steps or defaults["steps"], batch_size, defaults["batches"], progress)

    makers = {"infer": inference_step, "train": training_step}
    makers = {mode: make for mode, make in makers.items() if mode in modes}
    matrices, figures = None, {}
    if makers:
        dtype = keras.dtype_policies.get(precision).compute_dtype
        matrices = measure.matrix_rate(dtype, defaults["matrix"])
    for mode, make in makers.items():
        model = BiTClassifier.from_architecture(architecture, dtype=precision)
        found = bench.examine(mode, make(model, size, compile_args))
        operations = 2 * PASSES[mode] * architecture.multiply_adds(size, size)
        figures[mode] = with_flops(found, operations, matrices.rate)
        # A model holds itself by references in a circle, and with it its weights.
        del model, found
        gc.collect()
    if source:
        figures["pipeline"] = _examine_input(bench, source, size, figures.get("train"))
    result = Benchmark(
        environment=_describe_machine(),
        network=architecture.name,
        num_parameters=architecture.num_parameters,
        image_size=size,
        precision=precision,
        xla=compile_args["jit_compile"],
        dataset=source and source.name,
        matrix_size=matrices and matrices.size,
        matrix_flops=matrices and matrices.rate,
        modes=figures,
    )
    if out:
        write_json(out, result.to_dict())
    return result


def _check_modes(modes):
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes:
        raise InputError(
            f"`modes` must be some of {', '.join(MODES)}. Received: "
            f"{', '.join(unknown) or 'none'}"
        )


def _network(model, depth, width):
    """Returns the `Architecture`, with a head, and the usual image size or `None`."""
    if model is None:
        depth = 50 if depth is None else depth
        width = 1 if width is None else width
        architecture, size = check_architecture(depth, width, None), None
    elif (depth, width) != (None, None):
        raise InputError(
            f"Give either a model or depth and width. Received: model {model}, depth "
            f"{depth} and width {width}"
        )
    else:
        opened = open_model(model) if is_path(model) else get_preset(model)
        architecture, size = opened.architecture, opened.image_size
    num_classes = architecture.num_classes or NUM_CLASSES
    return dataclasses.replace(architecture, num_classes=num_classes), size


def inference_step(model, image_size, compile_args):
    """Returns a function from a batch size to a step of the serving form.

    Args:
        model: A `BiTClassifier`, whose kernels are replaced by standardized ones.
        image_size: Pixels.
        compile_args: Of `model.compile`; it is compiled with XLA if that is.

    Returns:
        A function whose result is called without arguments and returns the logits of
        the first image.
    """
    convolutions = model.backbone.convolutions()
    for conv in convolutions:
        conv.kernel.assign(conv.standardized_kernel())

    def step_of(batch_size):
        @tf.function(jit_compile=compile_args["jit_compile"], autograph=False)
        def compute(images):
            with computing_with([], convolutions):
                return model(images, training=False)

        images = _images(batch_size, image_size)
        # One row, taken afterwards: all of the logits are computed, and the wait for
        # the device is none for megabytes of them.
        return lambda: compute(images)[0]

    return step_of


def training_step(model, image_size, compile_args):
    """Returns a function from a batch size to a step that updates a model.

    Args:
        model: A `BiTClassifier`.
        image_size: Pixels.
        compile_args: Of `model.compile`.

    Returns:
        A function whose result is called without arguments and returns the loss.
    """
    model.compile(**compile_args)

    def step_of(batch_size):
        images = _images(batch_size, image_size)
        classes = tf.range(batch_size) % model.num_classes
        batch = images, tf.one_hot(classes, model.num_classes)
        # Made anew, or else Keras would relax the batch size of what it has compiled.
        model.make_train_function(force=True)
        return lambda: model.train_function(iter([batch]))["loss"]

    return step_of


def input_step(source, image_size):
    """Returns a function from a batch size to a step of the input pipeline.

    Args:
        source: A `Source`.
        image_size: Pixels of the crops; the rest is as the HyperRule has it.

    Returns:
        A function whose result is called without arguments and returns labels.
    """

    def labels_of_batches(batch_size):
        recipe = rule_for(source).scaled(batch_size=batch_size, crop=image_size)
        for _, labels in train_batches(source, recipe):
            yield labels

    def step_of(batch_size):
        # A generator begins when it is asked for something: what a set does once, such
        # as decoding images that are kept in memory, is part of the first step.
        return functools.partial(next, labels_of_batches(batch_size))

    return step_of


def _images(batch_size, image_size):
    """Returns random images in [-1, 1], on the device."""
    shape = (batch_size, image_size, image_size, 3)
    return tf.random.stateless_uniform(shape, (0, 0), -1, 1)


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
        if memory is None:
            memory = (
                measure.GpuMemory() if measure.has_gpu() else measure.ProcessMemory()
            )
        one = functools.partial(self._measure, mode, step_of, memory)
        if self.batch_size:
            try:
                return one(self.batch_size)
            except tf.errors.ResourceExhaustedError as error:
                raise RunError(
                    f"A batch of {self.batch_size} does not fit into the memory for "
                    f"{mode}; give a smaller batch size."
                ) from error

        def has_room(figures):
            peak = figures.peak_memory
            return peak is None or memory.has_room(2 * peak)

        tried, why = measure.double_while_faster(one, *self.batches, has_room)
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


def _examine_input(bench, source, image_size, training):
    """Returns the `Figures` of the pipeline, in batches of training if that is done."""
    found = training.batch_size if training else PIPELINE_BATCH_SIZE
    bench = dataclasses.replace(bench, batch_size=bench.batch_size or found)
    with naming_unreadable(source.train):
        return bench.examine(
            "pipeline", input_step(source, image_size), measure.ProcessMemory()
        )


def _describe_machine():
    return {
        **describe_environment(),
        "processor": measure.processor(),
        "cores": measure.num_cores(),
    }
