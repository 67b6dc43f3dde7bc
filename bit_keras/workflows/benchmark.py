"""The speed of BiT on the machine at hand: inference, training and input."""

import dataclasses
import gc

import keras

from bit_keras.data.sources import naming_unreadable, open_source
from bit_keras.errors import InputError
from bit_keras.evaluation import describe_environment
from bit_keras.models.backbone import check_architecture
from bit_keras.models.classifier import BiTClassifier
from bit_keras.models.presets import get_preset
from bit_keras.recipes.hyperrule import HyperRule
from bit_keras.workflows import measure
from bit_keras.workflows.benchmark_figures import Bench, Figures, with_flops
from bit_keras.workflows.benchmark_steps import (
    inference_step,
    input_step,
    training_step,
)
from bit_keras.workflows.folders import check_file, write_json
from bit_keras.workflows.models import is_path, open_model

MODES = ("infer", "train", "pipeline")
# Classes where the model has no head.
NUM_CLASSES = 1000
# By default, on a GPU and without one: pixels, measurements, first and largest batch of
# a search, and the largest matrix. A search starts higher on a GPU, for which XLA takes
# long to compile each size.
ON_GPU = {"image_size": 224, "steps": 30, "batches": (32, 4096), "matrix": 16384}
ON_CPU = {"image_size": 128, "steps": 6, "batches": (8, 1024), "matrix": 4096}
# Of the pipeline where training has not found one.
PIPELINE_BATCH_SIZE = 64
# Multiplications by kernels in terms of those of the forward pass. As usual, the
# backward pass counts twice: for the gradients of kernels, and of activations.
PASSES = {"infer": 1, "train": 3}


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
        batch_split: Number of parts that training computed a batch in.
        remat: Whether it computed the inside of each residual unit anew.
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
    batch_split: int
    remat: bool
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
    batch_split=1,
    remat=False,
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
        batch_split: Number of parts that training computes a batch in, to save memory;
            more than one need a `batch_size` that they divide.
        remat: Whether training computes the inside of each residual unit anew for its
            gradients, to save memory, too.
        dataset: Set of the pipeline, as in `load_dataset`.
        data_dir: Folder where TFDS keeps its sets.
        steps: Measurements of each figure, each of one step or of as many short ones as
            take a tenth of a second; by default 30 on a GPU and 6 without one.
        out: If given, the JSON file that the result is written to.
        overwrite: Whether a file that is there is replaced.
        progress: Whether to show progress bars.

    Returns:
        A `Benchmark`.

    Raises:
        InputError: If there is no such model, set or mode, the parts do not divide the
            batch, or the file is there.
        RunError: If a batch does not fit into the memory.

    Example:

    >>> benchmark(depth=26, width=0.5, modes=["infer"]).modes["infer"].step_ms
    """
    _check_modes(modes)
    if "train" in modes:
        _check_parts(batch_size, batch_split)
    if out:
        check_file(out, overwrite)
    defaults = ON_GPU if measure.has_gpu() else ON_CPU
    architecture, usual_size = _network(model, depth, width)
    size = image_size or usual_size or defaults["image_size"]
    # Before there is anything to wait for.
    source = open_source(dataset, data_dir) if "pipeline" in modes else None
    compile_args = HyperRule(size, size, num_examples=1).compile_args()
    compile_args["batch_split"] = batch_split
    if xla is not None:
        compile_args["jit_compile"] = xla
    bench = Bench(steps or defaults["steps"], batch_size, defaults["batches"], progress)

    matrices, figures = None, {}
    for mode, make_step in (("infer", inference_step), ("train", training_step)):
        if mode in modes:
            matrices = matrices or _matrix_rate(precision, defaults["matrix"])
            network = BiTClassifier.from_architecture(architecture, dtype=precision)
            network.backbone.remat = remat
            found = bench.examine(mode, make_step(network, size, compile_args))
            operations = 2 * PASSES[mode] * architecture.multiply_adds(size, size)
            figures[mode] = with_flops(found, operations, matrices.rate)
            # A model refers to itself, and so keeps its weights until it is collected.
            del network
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
        batch_split=batch_split,
        remat=remat,
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


def _check_parts(batch_size, batch_split):
    if batch_split == 1:
        return
    whole = isinstance(batch_split, int) and batch_split > 1
    if not (whole and batch_size and batch_size % batch_split == 0):
        raise InputError(
            "`batch_split` must be a positive integer, and divide `batch_size`. "
            f"Received: batch_size={batch_size}, batch_split={batch_split}"
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


def _matrix_rate(precision, largest):
    """Returns the machine's `MatrixRate` in the compute dtype of a policy."""
    dtype = keras.dtype_policies.get(precision).compute_dtype
    return measure.matrix_rate(dtype, largest)


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
