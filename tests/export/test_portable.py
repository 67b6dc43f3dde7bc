import importlib

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from conftest import make_model

import bit_keras
from bit_keras.errors import InputError, RunError
from bit_keras.export import portable
from bit_keras.export.compare import relative_l2
from bit_keras.export.portable import export_litert, export_onnx

IMAGES = np.random.default_rng(1).uniform(0, 1, (2, 72, 41, 3)).astype(np.float32)


def run_litert(path, images):
    return Interpreter(str(path)).get_signature_runner("serving_default")(images=images)


def run_onnx(path, images):
    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


@pytest.mark.parametrize(
    ("precision", "most"), [("float32", 2e-5), ("float16", 5e-3), ("int8", 0.1)]
)
def test_litert_gives_the_logits(named_model, tmp_path, precision, most):
    path = tmp_path / "model.tflite"
    export = export_litert(named_model, path, precision=precision)
    assert export.path == path and export.num_bytes == path.stat().st_size
    expected = np.array(named_model(2 * IMAGES - 1))
    measured = relative_l2(run_litert(path, IMAGES)["outputs"], expected)
    assert measured < most and export.deviation < most
    assert (measured > 1e-4) == (precision != "float32")


def test_litert_files_shrink(named_model, tmp_path):
    sizes = [
        export_litert(named_model, tmp_path / name, precision=name).num_bytes
        for name in ("float32", "float16", "int8")
    ]
    assert sizes[1] < 0.55 * sizes[0] and sizes[2] < 0.3 * sizes[0]


def test_onnx_gives_the_logits_and_the_names(named_model, tmp_path):
    path = tmp_path / "model.onnx"
    export = export_onnx(named_model, path)
    expected = np.array(named_model(2 * IMAGES - 1))
    assert relative_l2(run_onnx(path, IMAGES)["outputs"], expected) < 2e-5
    assert export.num_bytes == path.stat().st_size
    assert 0 < export.deviation < 2e-5
    (names,) = onnx.load(path).metadata_props
    assert (names.key, names.value) == ("class_names", "apple\nübung\na b")


@pytest.mark.parametrize(
    ("export", "run"), [(export_litert, run_litert), (export_onnx, run_onnx)]
)
def test_all_outputs_of_bytes_by_their_names(named_model, tmp_path, export, run):
    path = export(named_model, tmp_path / "all", "all", "uint8").path
    images = np.uint8(255 * IMAGES)
    outputs = run(path, images)
    scaled = images / 127.5 - 1
    assert set(outputs) == {*named_model.backbone.endpoints, "features", "logits"}
    assert relative_l2(outputs["logits"], np.array(named_model(scaled))) < 2e-5
    features = np.array(named_model.features(scaled))
    assert relative_l2(outputs["features"], features) < 2e-5
    assert outputs["block1"].shape == (2, 18, 11, 128)


@pytest.mark.parametrize(
    ("export", "run"), [(export_litert, run_litert), (export_onnx, run_onnx)]
)
def test_mixed_precision_becomes_float32(tmp_path, export, run):
    model = make_model("mixed_bfloat16")
    path = export(model, tmp_path / "mixed", "features", (-1, 1)).path
    exact = make_model()
    for name, variable in exact.named_variables().items():
        variable.assign(model.named_variables()[name])
    expected = np.array(exact.features(IMAGES))
    assert relative_l2(run(path, IMAGES)["outputs"], expected) < 2e-5


@pytest.mark.parametrize("export", [export_litert, export_onnx])
def test_what_deviates_is_not_kept(named_model, tmp_path, monkeypatch, export):
    monkeypatch.setattr(portable, "PRECISIONS", {"float32": 0.0})
    with pytest.raises(RunError, match="logits and was not kept: relative deviation"):
        export(named_model, tmp_path / "wrong")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("export", [export_litert, export_onnx])
def test_what_cannot_be_is_said_in_a_sentence(
    named_model, tmp_path, monkeypatch, export
):
    mine = tmp_path / "mine"
    mine.write_text("precious")
    with pytest.raises(InputError, match="mine exists; name another file"):
        export(named_model, mine)
    assert mine.read_text() == "precious"
    with pytest.raises(InputError, match=r"`input_range`.*Received: \(0, 2\)"):
        export(named_model, tmp_path / "a", input_range=(0, 2))
    with pytest.raises(InputError, match="`outputs`.*Received: 'labels'"):
        export(named_model, tmp_path / "a", "labels")
    monkeypatch.setattr(portable, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="hold at most .* GB of weights; export a"):
        export(named_model, tmp_path / "a")

    def no_library(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", no_library)
    with pytest.raises(InputError, match=r'pip install "bit-keras\[portable\]"'):
        export(named_model, tmp_path / "a")


def test_an_unknown_precision_is_named(named_model, tmp_path):
    with pytest.raises(InputError, match="`precision`.*Received: 'int4'"):
        export_litert(named_model, tmp_path / "a", precision="int4")


def test_a_head_of_ones_own_in_half_precision_is_refused(tmp_path):
    import keras

    backbone = bit_keras.BiTBackbone(
        units=(1, 1, 1, 1), width=0.5, dtype="mixed_bfloat16"
    )
    pool = keras.layers.GlobalAveragePooling2D()
    model = keras.Sequential([backbone, pool, keras.layers.Dense(3)])
    with pytest.raises(InputError, match="must compute in float32.*mixed_bfloat16"):
        export_onnx(model, tmp_path / "a")
