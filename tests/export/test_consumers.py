"""Who uses SavedModels takes ours, in processes that cannot import this package."""

import base64
import io
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_model
from PIL import Image

import bit_keras
from bit_keras.export.compare import relative_l2
from bit_keras.export.saved_model import export_saved_model
from bit_keras.workflows.predict import predict

CONSUMERS = pathlib.Path(__file__).parent / "consumers"
WITHOUT_US = """
import runpy, sys
sys.modules["bit_keras"] = None
try:
    import bit_keras
except ImportError:
    runpy.run_path(sys.argv.pop(1), run_name="__main__")
else:
    sys.exit("bit_keras could be imported")
"""
IMAGES = np.random.default_rng(0).uniform(0, 1, (40, 40, 40, 3)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, 40)


@pytest.fixture(scope="module")
def exports(named_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    settings = {
        "logits": {"outputs": "logits"},
        "features": {},
        "decayed": {"weight_decay": 1e-4},
        "serving": {"outputs": "logits", "form": "serving"},
    }
    for name, arguments in settings.items():
        export_saved_model(named_model, folder / name, **arguments)
    np.savez(folder / "data.npz", images=IMAGES, labels=LABELS)
    contents = [path.read_bytes() for path in write_images(folder)]
    encoded = [base64.b64encode(content).decode() for content in contents]
    (folder / "data.npz.json").write_text(json.dumps(encoded))
    return folder


def write_images(folder):
    """Writes a turned JPEG, a grey PNG and one with a palette."""
    random = np.random.default_rng(2)
    pixels = Image.fromarray(random.integers(0, 256, (60, 30, 3), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    pixels.save(folder / "turned.jpg", exif=turned)
    pixels.convert("L").save(folder / "grey.png")
    pixels.quantize(16).save(folder / "palette.png")
    return [folder / name for name in ("turned.jpg", "grey.png", "palette.png")]


def consume(exports, script):
    """Runs a script without this package; returns the arrays that it has written."""
    out = exports / f"{script}.npz"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_US, CONSUMERS / script, exports]
        + [exports / "data.npz", out],
        capture_output=True,
        text=True,
        cwd=exports,
    )
    assert not done.returncode, done.stderr
    return dict(np.load(out))


@pytest.fixture(scope="module")
def tuned(named_model):
    """The model, fine-tuned by itself as the consumers do it."""
    model = bit_keras.BiTClassifier.from_config(named_model.get_config())
    model.set_weights(named_model.get_weights())
    model.compile(
        keras.optimizers.SGD(0.005),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    images = 2 * IMAGES - 1
    model.fit(images, LABELS, batch_size=8, shuffle=False, verbose=0)
    return model


def assert_tuned(weights, tuned, before):
    """All weights have moved, and to where those of the model have.

    Graphs of the same network round differently, and at a tenfold rate a difference of
    1e-7 in the weights was seen to grow to 3e-2 in five steps.
    """
    for name, variable in tuned.named_variables().items():
        assert relative_l2(weights[name], np.array(variable)) <= 5e-5, name
        moved = relative_l2(weights[name], np.array(before.named_variables()[name]))
        assert moved > 1e-4, name


def test_hub_layers_in_tf_keras(exports, named_model, tuned):
    results = consume(exports, "hub_in_tf_keras.py")
    logits = np.array(named_model(2 * IMAGES[:3] - 1))
    for name in ("logits", "io device", "hub.load", "serving"):
        assert relative_l2(results[name], logits) < 1e-5, name
    features = np.array(named_model.features(2 * IMAGES[:3] - 1))
    assert relative_l2(results["vectors"], features) < 1e-5
    names = list(named_model.named_variables())
    for kind in ("tuned", "mirrored"):
        weights = {name: results[f"{kind} {i}"] for i, name in enumerate(names)}
        assert_tuned(weights, tuned, named_model)
    for copy in ("combined, loaded", "combined, from h5"):
        assert relative_l2(results[copy], results["combined"]) < 1e-6
    kernels = [
        np.float64(variable)
        for name, variable in named_model.backbone.named_variables().items()
        if name.endswith("kernel")
    ]
    squares = sum((kernel**2).sum() for kernel in kernels)
    assert np.isclose(results["penalty"], 1e-4 * squares / 2, rtol=1e-5)


def test_a_layer_in_keras_3(exports, named_model, tuned):
    results = consume(exports, "layer_in_keras_3.py")
    logits = np.array(named_model(2 * IMAGES[:3] - 1))
    for name in ("logits", "serving"):
        assert relative_l2(results[name], logits) < 1e-5, name
    weights = {
        name: results[f"tuned {variable.value.name.replace('/', '_')}"]
        for name, variable in named_model.named_variables().items()
    }
    assert_tuned(weights, tuned, named_model)


def test_plain_tensorflow_and_the_request_of_a_server(exports, named_model):
    results = consume(exports, "plain_tensorflow.py")
    logits = np.array(named_model(2 * IMAGES[:3] - 1))
    session = "session serving_default outputs"
    for name in ("plain", "io device", "serving_default", session):
        assert relative_l2(results[name], logits) < 1e-5, name
    for name in ("plain, training", "io device, training"):
        assert relative_l2(results[name], logits) < 1e-5, name
    features = np.array(named_model.features(2 * IMAGES[:3] - 1))
    assert relative_l2(results["vector"], features) < 1e-5
    assert list(results["class names"]) == named_model.class_names
    files = [exports / name for name in ("turned.jpg", "grey.png", "palette.png")]
    for prefix in ("bytes", "session image_bytes"):
        rows = zip(
            predict(named_model, files),
            results[f"{prefix} labels"],
            results[f"{prefix} top_probabilities"],
            results[f"{prefix} probabilities"],
            strict=True,
        )
        for expected, labels, top, shares in rows:
            assert tuple(label.decode() for label in labels) == expected.labels
            np.testing.assert_allclose(top, expected.probabilities, rtol=1e-4)
            by_place = [
                dict(zip(expected.labels, expected.probabilities, strict=True))[name]
                for name in named_model.class_names
            ]
            np.testing.assert_allclose(shares, by_place, rtol=1e-4)


def test_the_tools_of_tensorflow(exports, named_model):
    tool = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
    folder = ["--dir", str(exports / "logits")]

    def call(*arguments):
        done = subprocess.run(
            [*tool, *arguments], capture_output=True, text=True, cwd=exports
        )
        assert not done.returncode, done.stderr
        return done.stdout

    shown = call("show", *folder, "--all")
    for word in ("image_bytes", "image_feature_vector", "serving_default", "DT_STRING"):
        assert word in shown
    np.save(exports / "images.npy", IMAGES[:2])
    call(
        *("run", *folder, "--tag_set", "serve", "--signature_def", "serving_default"),
        *("--inputs", "images=images.npy", "--outdir", str(exports / "cli")),
    )
    outputs = np.load(exports / "cli" / "outputs.npy")
    assert relative_l2(outputs, np.array(named_model(2 * IMAGES[:2] - 1))) < 1e-5


def test_a_converter_from_outside(exports, named_model):
    import onnxruntime

    done = subprocess.run(
        [sys.executable, "-m", "tf2onnx.convert", "--saved-model", "logits"]
        + ["--signature_def", "serving_default", "--output", "converted.onnx"],
        capture_output=True,
        text=True,
        cwd=exports,
    )
    assert not done.returncode, done.stderr
    session = onnxruntime.InferenceSession(exports / "converted.onnx")
    (outputs,) = session.run(["outputs"], {"images": IMAGES[:2]})
    assert relative_l2(outputs, np.array(named_model(2 * IMAGES[:2] - 1))) < 2e-5


def exported(model, folder, outputs, images):
    path = export_saved_model(model, folder, outputs, (-1, 1))
    return np.array(tf.saved_model.load(str(path))(images))


def test_a_model_of_a_strategy(tmp_path):
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    with strategy.scope():
        model = make_model()
    expected = np.array(model(IMAGES[:2]))
    outputs = exported(model, tmp_path / "mirrored", "logits", IMAGES[:2])
    assert relative_l2(outputs, expected) < 1e-5
    serving = export_saved_model(model, tmp_path / "serving", "logits", form="serving")
    outputs = tf.saved_model.load(str(serving))((IMAGES[:2] + 1) / 2)
    assert relative_l2(outputs, expected) < 1e-5


def test_a_head_of_ones_own(tmp_path):
    backbone = make_model().backbone
    model = keras.Sequential(
        [
            backbone,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(16, "relu"),
            keras.layers.Dense(3),
        ]
    )
    for outputs, expected in (
        ("logits", model(IMAGES[:2])),
        ("features", model.layers[1](backbone(IMAGES[:2]))),
    ):
        result = exported(model, tmp_path / outputs, outputs, IMAGES[:2])
        assert relative_l2(result, np.array(expected)) < 1e-5
    loaded = tf.saved_model.load(str(tmp_path / "logits"))
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    path = export_saved_model(model, tmp_path / "s", "logits", form="serving")
    result = tf.saved_model.load(str(path))((IMAGES[:2] + 1) / 2)
    assert relative_l2(result, np.array(model(IMAGES[:2]))) < 1e-5
    with pytest.raises(bit_keras.InputError, match='"all" is for a BiTClassifier'):
        export_saved_model(model, tmp_path / "never", "all")


def test_a_backbone_alone(tmp_path):
    backbone = make_model().backbone
    expected = np.array(backbone(IMAGES[:2])).mean((1, 2))
    result = exported(backbone, tmp_path / "backbone", "features", IMAGES[:2])
    assert relative_l2(result, expected) < 1e-5
    with pytest.raises(bit_keras.InputError, match="has no head"):
        export_saved_model(backbone, tmp_path / "never", "logits")
    layer = keras.layers.Dense(2)
    with pytest.raises(bit_keras.InputError, match="`model` must be.*Received: Dense"):
        export_saved_model(layer, tmp_path / "never")


def test_png_bytes_of_any_size_come_out_as_evaluated(named_model, tmp_path):
    path = export_saved_model(named_model, tmp_path / "features")
    stream = io.BytesIO()
    pixels = np.random.default_rng(3).integers(0, 256, (31, 77, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    classify = tf.saved_model.load(str(path)).signatures["image_bytes"]
    features = classify(image_bytes=tf.constant([stream.getvalue()]))["features"]
    resized = tf.image.resize(pixels, (48, 48), method="bilinear", antialias=False)
    expected = named_model.features(resized[None] / 127.5 - 1)
    assert relative_l2(features, np.array(expected)) < 1e-5
