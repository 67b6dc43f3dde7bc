"""Whole exports, of a preset as small as a network can be."""

import functools
import hashlib
import http.server
import io
import json
import os
import pathlib
import sys
import tarfile
import threading
import types
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import bit_keras
from bit_keras.checkpoints.names import Architecture
from bit_keras.checkpoints.saved_models import read_metadata
from bit_keras.errors import InputError, RunError
from bit_keras.export.archive import write_archive
from bit_keras.export.families import Family
from bit_keras.models import presets
from bit_keras.workflows import export_jobs
from bit_keras.workflows.export import export, export_all
from bit_keras.workflows.export_cards import find_place, place_of_preset

TINY = Architecture((1, 1, 1, 1), 0.5, 3)
IMAGES = np.random.default_rng(1).uniform(0, 1, (2, 40, 65, 3)).astype(np.float32)


def tiny_preset(name):
    return presets.Preset(
        name=f"bit_m_{name}",
        published_name=f"BiT-M-{name}",
        architecture=TINY,
        image_size=48,
        source="Trained on nothing; nobody",
        url=f"https://example.invalid/bit_models/BiT-M-{name}.npz",
    )


def tiny_model(seed=0):
    keras.utils.set_random_seed(seed)
    model = bit_keras.BiTClassifier.from_architecture(TINY, image_size=48)
    model.head.kernel.assign(np.random.default_rng(seed).normal(0, 0.1, (1024, 3)))
    return model


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def logits(model):
    """Of the model in a graph, as those of a SavedModel are.

    Called op by op it sums in another order, on some processors to more than 1e-6.
    """
    return tf.function(model)(IMAGES)


@pytest.fixture(scope="module", autouse=True)
def small_presets(tmp_path_factory):
    """Three presets of small networks, and a cache of downloads with nothing in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIT_KERAS_HOME", str(tmp_path_factory.mktemp("cache")))
        for name in ("tiny", "tiny2", "tiny3"):
            preset = tiny_preset(name)
            patch.setitem(presets.PRESETS, preset.name, preset)
            patch.setitem(presets._BY_KEY, preset.name, preset)
        yield


@pytest.fixture(scope="module")
def weights(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "BiT-M-tiny.npz"
    bit_keras.save_npz(model, path)
    return path


@pytest.fixture(scope="module")
def exported(weights, tmp_path_factory):
    """Both forms of a preset in the default folder, packed, and what was said."""
    folder, said = tmp_path_factory.mktemp("project"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = export(
            "bit_m_tiny",
            weights=weights,
            outputs="logits",
            input_range=(-1, 1),
            form="both",
            variables="bfloat16",
            archive=True,
            say=said.append,
        )
    return types.SimpleNamespace(
        folder=folder / "exports" / "m-tiny", result=result, said=said
    )


def size_of(path):
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def assert_close(actual, expected, tolerance=1e-6):
    actual, expected = np.array(actual), np.array(expected)
    difference = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
    assert difference <= tolerance


def test_both_forms_compute_what_the_model_does(logits, exported):
    trainable = tf.saved_model.load(str(exported.folder / "saved_model"))
    assert_close(trainable(IMAGES), logits)
    assert trainable.trainable_variables
    serving = tf.saved_model.load(str(exported.folder / "saved_model_serving"))
    assert_close(serving(IMAGES), logits, 0.2)
    assert not serving.trainable_variables
    metadata = [
        read_metadata(exported.folder / name)
        for name in ("saved_model", "saved_model_serving")
    ]
    assert [entry["variables"] for entry in metadata] == ["float32", "bfloat16"]


def test_a_line_is_said_about_each_thing_and_where_it_is(exported):
    starts = [
        "SavedModel, trainable, images in [-1, 1] to logits: exports/m-tiny/saved_model"
        " (",
        "Archive for hub.load(url) of a SavedModel, trainable, images in [-1, 1] to "
        "logits: exports/m-tiny/saved_model.tar.gz (",
        "SavedModel, serving with bfloat16 kernels, images in [-1, 1] to logits: "
        "exports/m-tiny/saved_model_serving (",
        "Archive for hub.load(url) of a SavedModel, serving with bfloat16 kernels, "
        "images in [-1, 1] to logits: exports/m-tiny/saved_model_serving.tar.gz (",
        "Model card: exports/m-tiny/README.md",
    ]
    assert len(exported.said) == len(starts)
    for line, start in zip(exported.said, starts, strict=True):
        assert line.startswith(start)
    paths = {str(path) for path in exported.result.files}
    assert paths == {line.split(": ")[1].split(" (")[0] for line in starts[:4]}
    assert str(exported.result.card) == "exports/m-tiny/README.md"


def test_the_card_has_what_was_measured(weights, exported):
    measured = json.loads((exported.folder / "measured.json").read_text())
    [(name, entry)] = measured.items()
    assert name == "bit_m_tiny"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert f"from BiT-M-tiny.npz with the SHA-256 {digest}" in entry["weights"]
    text = (exported.folder / "README.md").read_text()
    for file, figures in entry["files"].items():
        path = exported.folder / file
        assert figures["num_bytes"] == size_of(path)
        deviation = None
        if path.is_dir():
            deviation = read_metadata(path)["deviation"]
            assert f"MB | {deviation:.1e} |" in text
        assert figures["deviation"] == deviation
        size = f"{figures['num_bytes'] / 1e6:,.1f} MB"
        assert f"| `{file}` | {figures['content']} | {size} |" in text
    assert len(entry["files"]) == 4
    assert "tf.saved_model.load(path)\n" in text
    assert 'path = "exports/m-tiny/saved_model"\n' in text


def test_the_recipe_of_a_preset_goes_with_it(exported):
    recipe = json.loads((exported.folder / "recipe.json").read_text())
    assert recipe == Family("m-tiny", (tiny_preset("tiny"),)).recipe()
    assert recipe["upstream"]["variant"] == "M"
    for name in ("saved_model", "saved_model_serving"):
        assert read_metadata(exported.folder / name)["recipe"] == recipe


def test_an_archive_is_the_same_on_another_day(exported, tmp_path):
    source = exported.folder / "saved_model"
    first = (exported.folder / "saved_model.tar.gz").read_bytes()
    for path in (source, *source.rglob("*")):
        os.utime(path, (10**9, 10**9))
    second = write_archive(source, tmp_path / "another name.tar.gz").read_bytes()
    assert second == first
    with tarfile.open(fileobj=io.BytesIO(first)) as packed:
        names = packed.getnames()
        assert names == sorted(names)
        assert {member.mtime for member in packed.getmembers()} == {0}
        files = {m.name: packed.extractfile(m) for m in packed if m.isfile()}
        contents = {source / name: file.read() for name, file in files.items()}
    expected = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    assert contents == expected


def test_hub_loads_the_archive_from_an_address(
    model, logits, exported, tmp_path, monkeypatch
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensorflow-hub imports pkg_resources
        import tensorflow_hub as hub
        import tf_keras
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    serve = functools.partial(Handler, directory=exported.folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/saved_model.tar.gz"
            loaded = hub.load(url)
            layer = hub.KerasLayer(url, trainable=True)
        finally:
            server.shutdown()
            thread.join()
    assert_close(loaded(IMAGES), logits)
    assert_close(tf_keras.Sequential([layer])(IMAGES), logits)
    assert len(layer.trainable_weights) == len(model.trainable_variables)
    # The second time it comes from hub's cache.
    assert asked == ["/saved_model.tar.gz?tf-hub-format=compressed"]
    [cached] = tmp_path.glob("*/saved_model.pb")
    assert (
        cached.read_bytes()
        == (exported.folder / "saved_model" / "saved_model.pb").read_bytes()
    )


def test_what_is_there_is_kept(weights, exported, monkeypatch):
    monkeypatch.chdir(exported.folder.parents[1])
    before = (exported.folder / "measured.json").read_bytes()
    for options in (
        {},
        {"form": "serving"},
        {"formats": ("onnx", "saved_model")},
    ):
        with pytest.raises(InputError, match="saved_model(_serving)? exists; choose"):
            export("bit_m_tiny", weights=weights, **options)
    (exported.folder / "model.onnx").write_text("mine")
    with pytest.raises(InputError, match="model.onnx exists; choose another folder"):
        export("bit_m_tiny", weights=weights, formats=("onnx",))
    (exported.folder / "model.onnx").unlink()
    assert (exported.folder / "measured.json").read_bytes() == before


@pytest.fixture
def quick(monkeypatch):
    """Writes of SavedModels that only note how they were called."""
    calls = []

    def export_saved_model(model, path, *settings, **others):
        calls.append((model, path, settings, others))
        (path / "assets.extra").mkdir(parents=True, exist_ok=True)
        (path / "saved_model.pb").write_bytes(b"graph")
        metadata = {"form": "trainable", "architecture": {"units": []}, "deviation": 0}
        (path / "assets.extra/bit_keras.json").write_text(json.dumps(metadata))
        return path

    monkeypatch.setattr(export_jobs, "export_saved_model", export_saved_model)
    return calls


def test_a_run_goes_by_its_folder_and_hands_on_its_recipe(
    model, quick, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "pets-0.5"
    run.mkdir(parents=True)
    model.save(run / "model.keras")
    recipe = {"setting": "a light setting", "steps": 300}
    evaluation = {"num_correct": 9, "num_examples": 12}
    report = {"title": "R fine-tuned on pets", "recipe": recipe, "split": "test"}
    (run / "report.json").write_text(json.dumps(report | {"evaluation": evaluation}))
    for target, name in ((run, "a"), (run / "model.keras", "b")):
        export(target, out_dir=name)
        assert quick[-1][3]["recipe"] == recipe
    export("runs/pets-0.5")
    folder = tmp_path / "exports" / "pets-0.5"
    assert (folder / "saved_model").is_dir()
    assert json.loads((folder / "recipe.json").read_text()) == recipe
    text = (folder / "README.md").read_text()
    assert "R fine-tuned on pets: 9 of 12 test images right." in " ".join(text.split())
    assert "- a light setting." in text
    assert 'from_saved_model("exports/pets-0.5/saved_model")' in text


def test_a_weight_file_has_no_recipe(weights, quick, tmp_path):
    export(weights, out_dir=tmp_path / "out")
    assert quick[0][3]["recipe"] is None
    assert not (tmp_path / "out" / "recipe.json").exists()
    text = (tmp_path / "out" / "README.md").read_text()
    assert "How it was trained is not known." in text
    # The file says nothing of an image size, so that there is no such signature.
    assert "image_bytes" not in text


def test_places_of_presets_and_their_weights():
    vtab = find_place("BiT-M-R50x1-run2-dtd", "published")
    assert str(vtab.folder) == "exports/m-r50x1-vtab/dtd-run2"
    assert str(vtab.card_folder) == "exports/m-r50x1-vtab"
    assert len(vtab.family.presets) == 57
    assert vtab.recipe["fine_tuning"]["crop"] == 480
    alone = find_place("BiT-M-R50x1-run2-dtd", "published", "out")
    assert (str(alone.folder), str(alone.card_folder)) == ("out", "out")
    assert len(alone.family.presets) == 1
    same = find_place("bit_m_r50x1", "kept/BiT-M-R50x1.npz")
    assert str(same.folder) == "exports/m-r50x1" and same.recipe["upstream"]
    for weights, name in (("none", "m-r50x1-random"), ("kept/mine.npz", "mine")):
        place = find_place("bit_m_r50x1", weights)
        assert str(place.folder) == f"exports/{name}"
        assert place.recipe is place.preset is None


def test_presets_of_a_family_share_a_card(weights, quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = presets.get_preset("bit_m_r50x1_vtab_dtd_run1")
    place = place_of_preset(task, "exports")
    model = bit_keras.BiTClassifier.from_checkpoint(weights)
    monkeypatch.setattr(
        "bit_keras.workflows.export.open_model", lambda name, weights: model
    )
    for name in (task.name, "bit_m_r50x1_vtab_svhn_run0"):
        export(name)
    assert (place.folder / "saved_model").is_dir()
    text = (tmp_path / "exports/m-r50x1-vtab/README.md").read_text()
    for run in ("dtd-run1", "svhn-run0"):
        assert f"| `{run}/saved_model` | SavedModel, trainable" in text
    assert quick[0][3]["recipe"]["fine_tuning"]["crop"] == 480
    assert quick[1][3]["recipe"]["fine_tuning"]["crop"] == 128


def test_figures_of_other_weights_are_forgotten(weights, quick, tmp_path):
    out = tmp_path / "out"
    export("bit_m_tiny", out, weights=weights)
    export("bit_m_tiny", out, weights=weights, form="serving")
    assert set(files_measured(out)) == {"saved_model", "saved_model_serving"}
    other = tmp_path / "BiT-M-tiny.npz"
    bit_keras.save_npz(tiny_model(seed=1), other)
    export(
        "bit_m_tiny",
        out,
        weights=other,
        archive=True,
        form="serving",
        formats=("saved_model",),
        overwrite=True,
    )
    assert set(files_measured(out)) == {
        "saved_model_serving",
        "saved_model_serving.tar.gz",
    }


def files_measured(folder):
    [entry] = json.loads((folder / "measured.json").read_text()).values()
    return entry["files"]


@pytest.mark.parametrize("name", ["README.md", "recipe.json", "measured.json"])
def test_a_text_of_somebody_else_is_not_replaced(weights, quick, tmp_path, name):
    (tmp_path / name).write_text("# My thesis")
    with pytest.raises(InputError, match=f"{name} is there and no part of an earlier"):
        export("bit_m_tiny", tmp_path, weights=weights, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert not quick


@pytest.fixture
def portable(monkeypatch):
    """In place of the other runtimes, something that notes how it was called."""
    calls = []

    def write(kind, path, arguments, others):
        calls.append((kind, path, arguments, others))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 2_000_000)
        return types.SimpleNamespace(path=path, num_bytes=2_000_000, deviation=1e-5)

    module = types.ModuleType("bit_keras.export.portable")
    module.export_litert = lambda model, path, *a, **o: write("litert", path, a, o)
    module.export_onnx = lambda model, path, *a, **o: write("onnx", path, a, o)
    monkeypatch.setitem(sys.modules, "bit_keras.export.portable", module)
    return module, calls


def test_other_formats(weights, portable, tmp_path):
    _, calls = portable
    said = []
    result = export(
        "bit_m_tiny",
        tmp_path / "out",
        weights=weights,
        outputs="logits",
        input_range="uint8",
        formats=("onnx", "litert_int8", "litert", "litert_float16"),
        say=said.append,
    )
    settings, options = ("logits", "uint8"), {"overwrite": False}
    out = tmp_path / "out"
    assert calls == [
        ("litert", out / "model.tflite", (*settings, "float32"), options),
        ("litert", out / "model_float16.tflite", (*settings, "float16"), options),
        ("litert", out / "model_int8.tflite", (*settings, "int8"), options),
        ("onnx", out / "model.onnx", settings, options),
    ]
    assert list(result.files) == [path for _, path, _, _ in calls]
    row = "| `model_int8.tflite` | LiteRT, int8, uint8 images to logits | 2.0 MB | 1.0e"
    assert row in result.card.read_text()
    assert (
        said[3] == f"ONNX, float32, uint8 images to logits: {out}/model.onnx (2.0 MB)"
    )


def test_another_format_for_real(model, weights, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    result = export(
        "bit_m_tiny",
        tmp_path,
        weights=weights,
        outputs="logits",
        input_range=(-1, 1),
        formats=("onnx",),
    )
    [(path, figures)] = result.files.items()
    assert figures["num_bytes"] == path.stat().st_size
    assert 0 < figures["deviation"] < 2e-4
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [logits] = session.run(None, {"images": IMAGES})
    assert_close(logits, model(IMAGES), 2e-4)
    assert f"MB | {figures['deviation']:.1e} |" in result.card.read_text()


def test_what_was_written_before_a_failure_is_on_the_card(
    weights, quick, portable, tmp_path
):
    module, _ = portable

    def fail(*arguments, **options):
        raise RunError("The runtime gives something else.")

    module.export_onnx = fail
    with pytest.raises(RunError, match="The runtime gives something else."):
        export(
            "bit_m_tiny",
            tmp_path / "out",
            weights=weights,
            formats=("saved_model", "onnx"),
        )
    assert set(files_measured(tmp_path / "out")) == {"saved_model"}
    assert "`saved_model` | SavedModel" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ("pickle",)}, "`formats` must be .* Received: pickle"),
        ({"formats": ()}, "`formats` must be .* Received: none"),
        ({"form": "frozen"}, "`form` must be .* Received: 'frozen'"),
        ({"archive": True, "formats": ("onnx",)}, "Only a SavedModel can be packed"),
        ({"colour": 1}, "no option `colour`, but archive, form"),
    ],
)
def test_impossible_options_are_named(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        export("bit_m_tiny", tmp_path, **options)
    with pytest.raises(InputError, match=message):
        export_all(tmp_path, **options)


@pytest.mark.filterwarnings("ignore:BiT-M-R50x1.npz has the published name of R50x1")
def test_all_that_the_weights_here_allow(weights, quick, tmp_path, monkeypatch):
    """One is good, one damaged, one of another network; then one more is kept."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine" / "deeper"
    folder.mkdir(parents=True)
    (folder / "BiT-M-tiny.npz").write_bytes(weights.read_bytes())
    (folder / "BiT-M-tiny2.npz").write_bytes(weights.read_bytes()[:1000])
    (folder / "BiT-M-R50x1.npz").write_bytes(weights.read_bytes())
    cache = tmp_path / "cache" / "bit_models"
    cache.mkdir(parents=True)
    (cache / "BiT-M-tiny3.npz").write_bytes(weights.read_bytes())
    monkeypatch.setenv("BIT_KERAS_HOME", str(tmp_path / "cache"))

    said = []
    with pytest.raises(RunError) as failure:
        export_all(tmp_path / "mine", say=said.append)
    text = str(failure.value)
    assert text.startswith("2 of 5 presets failed: bit_m_r50x1: ")
    assert "; bit_m_tiny2: Cannot read the checkpoint" in text
    assert "\n" not in text
    assert [str(path) for _, path, _, _ in quick] == [
        "exports/t-r26x05/saved_model",
        "exports/m-tiny/saved_model",
        "exports/m-tiny3/saved_model",
    ]
    failed = [line.split(":")[0] for line in said if line.startswith("Failed")]
    assert failed == ["Failed, bit_m_r50x1", "Failed, bit_m_tiny2"]
    skipped = len(presets.PRESETS) - 5
    assert said[-1].startswith(
        f"Exported: 3; skipped without a weight file: {skipped} (s-r50x1, s-r50x3, "
    )
    assert "57 of m-r50x1-vtab, " in said[-1]
    assert not (tmp_path / "exports" / "m-r50x1").exists()

    # Again, without the bad ones: what is there stays, what is missing is added.
    (folder / "BiT-M-tiny2.npz").unlink()
    (folder / "BiT-M-R50x1.npz").unlink()
    said.clear()
    names = export_all(tmp_path / "mine", form="both", say=said.append)
    assert names == ["bit_t_r26x05", "bit_m_tiny", "bit_m_tiny3"]
    assert len(quick) == 6
    kept = [line for line in said if line.startswith("Kept")]
    assert kept == [
        f"Kept what is there: exports/{name}/saved_model"
        for name in ("t-r26x05", "m-tiny", "m-tiny3")
    ]
    assert set(files_measured(pathlib.Path("exports/m-tiny"))) == {
        "saved_model",
        "saved_model_serving",
    }


def test_all_of_nothing(tmp_path):
    with pytest.raises(InputError, match=f"no weight file of a preset in {tmp_path}"):
        export_all(tmp_path)
    with pytest.raises(InputError, match="`weights_dir` must be a folder"):
        export_all(tmp_path / "no")
