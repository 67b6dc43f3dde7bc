"""Models as single files for phones and other runtimes: LiteRT and ONNX."""

import dataclasses
import importlib
import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from bit_keras.errors import InputError, RunError, first_line
from bit_keras.export.compare import largest_deviation
from bit_keras.export.forward import (
    INPUT_RANGES,
    check_outputs,
    find_backbone,
    image_spec,
    used_variables,
)
from bit_keras.export.reusable import reusable_model
from bit_keras.files import replaced
from bit_keras.models.classifier import BiTClassifier

# How weights are stored, and the relative L2 deviation from the model that this may
# cost. Measured with random weights: 2e-5, 1e-2 and 0.3 on R50x1; 1e-4, 5e-2 and 0.6
# on R152x1, of which such an int8 file is therefore refused.
PRECISIONS = {"float32": 2e-4, "float16": 0.1, "int8": 0.5}
# Flatbuffers and protocol buffers hold 2 GiB; the graph itself needs some of it.
MAX_BYTES = 2**31 - 2**24
OPSET = 17


@dataclasses.dataclass(frozen=True)
class PortableExport:
    """A file that was written and held to its model.

    Args:
        path: Where it lies.
        num_bytes: Its size.
        deviation: The largest relative L2 deviation from the model that was measured,
            in the runtime of the file, on three sizes of images and two of batches.
    """

    path: pathlib.Path
    num_bytes: int
    deviation: float


def export_litert(
    model,
    path,
    outputs="logits",
    input_range=(0, 1),
    precision="float32",
    *,
    overwrite=False,
):
    """Writes a model as a LiteRT (TensorFlow Lite) file, tried before it is kept.

    Args:
        model: As in `export_saved_model`; computes in float32 whatever its policy.
        path: The `.tflite` file to write.
        outputs: As in `export_saved_model`.
        input_range: As in `export_saved_model`.
        precision: What kernels are stored in: `"float32"`; `"float16"`, half the size;
            or `"int8"`, a quarter, with activations quantized as they come.
        overwrite: Whether an existing file is replaced.

    Returns:
        A `PortableExport`. The file has the signature `serving_default`, from `images`
        of any batch, height and width to `outputs`, or to all by their names.

    Raises:
        InputError: If an argument is not possible, the file exists, or a library is
            missing.
        RunError: If the file does not give the model's outputs; nothing is kept.

    Example:

    >>> export_litert(model, "pets.tflite", precision="float16").deviation
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"`precision` must be one of {tuple(PRECISIONS)}. Received: {precision!r}"
        )
    interpreter = _import("ai_edge_litert.interpreter")

    def convert(reusable, serve):
        with tempfile.TemporaryDirectory() as folder:
            # By way of a SavedModel, which alone hands names to the file.
            tf.saved_model.save(reusable, folder, {"serving_default": serve})
            converter = tf.lite.TFLiteConverter.from_saved_model(
                folder, signature_keys=["serving_default"]
            )
            if precision != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if precision == "float16":
                converter.target_spec.supported_types = [tf.float16]
            return converter.convert()

    def runner(contents):
        session = interpreter.Interpreter(model_content=contents)
        return session.get_signature_runner("serving_default")

    return _export(
        model,
        pathlib.Path(path),
        outputs,
        input_range,
        overwrite,
        convert=convert,
        runner=runner,
        tolerance=PRECISIONS[precision],
    )


def export_onnx(model, path, outputs="logits", input_range=(0, 1), *, overwrite=False):
    """Writes a model as an ONNX file, tried in ONNX Runtime before it is kept.

    Args:
        model: As in `export_saved_model`; computes in float32 whatever its policy.
        path: The `.onnx` file to write.
        outputs: As in `export_saved_model`.
        input_range: As in `export_saved_model`.
        overwrite: Whether an existing file is replaced.

    Returns:
        A `PortableExport`. The file takes `images` of any batch, height and width, and
        returns `outputs`, or all by their names; class names are in its metadata, one
        on a line.

    Raises:
        InputError: If an argument is not possible, the file exists, or a library is
            missing.
        RunError: If the file does not give the model's outputs; nothing is kept.

    Example:

    >>> export_onnx(model, "pets.onnx").num_bytes
    """
    tf2onnx, onnx = _import("tf2onnx.convert"), _import("onnx")
    runtime = _import("onnxruntime")

    def convert(reusable, serve):
        spec = [image_spec(input_range)]
        proto, _ = tf2onnx.from_function(serve, spec, opset=OPSET)
        _keep_padding_apart(onnx, proto.graph)
        if names := getattr(model, "class_names", None):
            onnx.helper.set_model_props(proto, {"class_names": "\n".join(names)})
        return proto.SerializeToString()

    def runner(contents):
        session = runtime.InferenceSession(contents, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda images: dict(
            zip(names, session.run(names, {"images": images}), strict=True)
        )

    return _export(
        model,
        pathlib.Path(path),
        outputs,
        input_range,
        overwrite,
        convert=convert,
        runner=runner,
        tolerance=PRECISIONS["float32"],
    )


def _keep_padding_apart(onnx, graph):
    """Pads what is pooled with the smallest positive number in place of zero.

    BiT pads its first pooling with zeros. ONNX Runtime up to 1.31 and other optimizers
    take a zero for the padding of `MaxPool` itself, which is minus infinity, and change
    every negative maximum at the border. They leave any other number alone.
    """
    makers = {name: node for node in graph.node for name in node.output}
    pooled = [makers.get(n.input[0]) for n in graph.node if n.op_type == "MaxPool"]
    pads = [node for node in pooled if node is not None and node.op_type == "Pad"]
    value = np.float32(np.finfo(np.float32).tiny)
    graph.initializer.append(onnx.numpy_helper.from_array(value, "almost_zero"))
    for pad in pads:
        pad.input[2:] = ["almost_zero"]


def _import(name):
    """Imports an optional library, or says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"This needs the library {name.split('.')[0]} ({first_line(error)}); "
            'install it by `pip install "bit-keras[portable]"`.'
        ) from None


def _export(
    model,
    path,
    outputs,
    input_range,
    overwrite,
    *,
    convert,
    runner,
    tolerance,
):
    """Converts, tries and keeps a file."""
    _check_arguments(model, path, outputs, input_range, overwrite)
    model = _in_float32(model)
    reusable, signatures = reusable_model(model, outputs, input_range, form="serving")
    try:
        contents = convert(reusable, signatures["serving_default"])
    except Exception as error:  # Converters raise nearly anything.
        raise RunError(
            f"{path} was not written, since the converter failed: {first_line(error)}"
        ) from error
    named = runner(contents)

    def run(images):
        computed = named(images=images)
        return computed if outputs == "all" else {outputs: computed["outputs"]}

    deviation = largest_deviation(run, model, outputs, input_range, tolerance)
    with replaced(path) as temporary:
        temporary.write_bytes(contents)
    return PortableExport(path, len(contents), deviation)


def _check_arguments(model, path, outputs, input_range, overwrite):
    backbone = find_backbone(model)
    check_outputs(model, outputs)
    if input_range not in INPUT_RANGES:
        raise InputError(
            f"`input_range` must be one of {INPUT_RANGES}. Received: {input_range!r}"
        )
    if path.exists() and not overwrite:
        raise InputError(
            f"{path} exists; name another file, or allow it to be replaced with "
            "`overwrite`."
        )
    # Both converters hold float32 before they make anything smaller of it.
    used = used_variables(model, outputs).values()
    num_bytes = 4 * sum(variable.value.shape.num_elements() for variable in used)
    if num_bytes > MAX_BYTES:
        raise InputError(
            f"Files of this kind hold at most {MAX_BYTES / 1e9:.1f} GB, but "
            f"{backbone.architecture.name} has {num_bytes / 1e9:.1f} GB of weights; "
            "export a SavedModel, or a smaller network."
        )


def _in_float32(model):
    """Returns the model, or a copy that computes in float32, as the runtimes do."""
    backbone = find_backbone(model)
    if backbone.compute_dtype == "float32":
        return model
    if not isinstance(model, BiTClassifier):
        raise InputError(
            "A model with a head of its own must compute in float32 for this. "
            f"Received: the policy {backbone.dtype_policy.name}"
        )
    copy = BiTClassifier.from_architecture(
        model.architecture, dtype="float32", class_names=model.class_names
    )
    own = model.named_variables()
    for name, variable in copy.named_variables().items():
        variable.assign(own[name])
    return copy
