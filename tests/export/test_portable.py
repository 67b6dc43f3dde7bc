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


def pooled_padding(graph):
    """Returns what the input of the one max pooling is padded with."""
    (pool,) = [node for node in graph.node if node.op_type == "MaxPool"]
    (pad,) = [node for node in graph.node if pool.input[0] in node.output]
    assert pad.op_type == "Pad"
    (value,) = [i for i in graph.initializer if i.name == pad.input[2]]
    return onnx.numpy_helper.to_array(value)


def run_onnx(path, images):
    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


@pytest.fixture(scope="module")
def litert_exports(named_model, tmp_path_factory):
    """One file of each precision, which takes seconds to make."""
    folder = tmp_path_factory.mktemp("litert")
    return {
        name: export_litert(named_model, folder / f"{name}.tflite", precision=name)
        for name in portable.PRECISIONS
    }


@pytest.mark.parametrize(
    ("precision", "most"), [("float32", 2e-5), ("float16", 5e-3), ("int8", 0.1)]
)
def test_litert_gives_the_logits(named_model, litert_exports, precision, most):
    export = litert_exports[precision]
    assert export.num_bytes == export.path.stat().st_size
    expected = np.array(named_model(2 * IMAGES - 1))
    measured = relative_l2(run_litert(export.path, IMAGES)["outputs"], expected)
    assert measured < most and 0 < export.deviation < most
    assert (measured > 1e-4) == (precision != "float32")


def test_litert_files_shrink(litert_exports):
    sizes = {name: export.num_bytes for name, export in litert_exports.items()}
    assert sizes["float16"] < 0.55 * sizes["float32"]
    assert sizes["int8"] < 0.3 * sizes["float32"]


def test_onnx_gives_the_logits_and_the_names(named_model, tmp_path):
    path = tmp_path / "model.onnx"
    export = export_onnx(named_model, path)
    expected = np.array(named_model(2 * IMAGES - 1))
    assert relative_l2(run_onnx(path, IMAGES)["outputs"], expected) < 2e-5
    assert export.num_bytes == path.stat().st_size
    assert 0 < export.deviation < 2e-5
    loaded = onnx.load(path)
    (names,) = loaded.metadata_props
    assert (names.key, names.value) == ("class_names", "apple\nübung\na b")
    assert {node.domain for node in loaded.graph.node} == {""}
    assert 0 < pooled_padding(loaded.graph) < 1e-37


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


def test_mixed_precision_becomes_float32_and_takes_the_place_of_a_file(tmp_path):
    model = make_model("mixed_bfloat16")
    path = tmp_path / "mixed"
    path.write_text("of yesterday")
    export_litert(model, path, "features", (-1, 1), overwrite=True)
    exact = make_model()
    for name, variable in exact.named_variables().items():
        variable.assign(model.named_variables()[name])
    expected = np.array(exact.features(IMAGES))
    assert relative_l2(run_litert(path, IMAGES)["outputs"], expected) < 2e-5
    assert list(tmp_path.iterdir()) == [path]


def test_what_deviates_is_not_kept(named_model, tmp_path, monkeypatch):
    monkeypatch.setattr(portable, "PRECISIONS", {"float32": 0.0})
    old = tmp_path / "old"
    old.write_text("precious")
    with pytest.raises(RunError, match="logits and was not kept: relative deviation"):
        export_litert(named_model, old, overwrite=True)
    assert old.read_text() == "precious" and list(tmp_path.iterdir()) == [old]


def test_what_a_converter_says_is_one_sentence(named_model, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise KeyError("no such operation\nand many lines more")

    monkeypatch.setattr("tf2onnx.convert.from_function", fail)
    with pytest.raises(RunError, match="a was not written, since the converter failed"):
        export_onnx(named_model, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_only_what_is_exported_counts_against_the_limit(tmp_path, monkeypatch):
    model = make_model(num_classes=5000)
    monkeypatch.setattr(portable, "MAX_BYTES", 4 * model.backbone.count_params())
    file = tmp_path / "a"
    portable._check_arguments(model, file, "features", (0, 1), overwrite=False)
    with pytest.raises(InputError, match="hold at most"):
        portable._check_arguments(model, file, "logits", (0, 1), overwrite=False)


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
