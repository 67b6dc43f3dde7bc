"""The short commands, with real files, in this process."""

import csv
import io
import json

import keras
import numpy as np
import pytest
from parity.make_checkpoint import make_checkpoint

import bit_keras
from bit_keras.assets import doodles_folder
from bit_keras.cli import export as export_command
from bit_keras.cli.main import main
from bit_keras.models.presets import PRESETS

CLASSES = sorted(path.name for path in (doodles_folder() / "test").iterdir())
SOME_IMAGES = sorted((doodles_folder() / "test" / "apple").iterdir())[:3]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """The folder of a run, with a model that has not learned anything."""
    keras.utils.set_random_seed(0)
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
    model = bit_keras.BiTClassifier(backbone, 20, class_names=CLASSES, image_size=32)
    model.head.kernel.assign(np.random.default_rng(0).normal(0, 0.1, (1024, 20)))
    folder = tmp_path_factory.mktemp("run")
    model.save(folder / "model.keras")
    return folder


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "tiny.npz"
    np.savez(path, **make_checkpoint((1, 1, 1, 1), 1, 3, seed=0))
    return path


def fails(capsys, argv, message, status=2):
    assert main(list(map(str, argv))) == status
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1
    assert not output.out


def test_presets_as_a_table_and_as_json(capsys):
    assert main(["presets", "bit_m_r50x1"]) == 0
    assert "bit_m_r50x1 " in capsys.readouterr().out
    assert main(["presets", "bit_m_r50x1", "--json"]) == 0
    [preset] = json.loads(capsys.readouterr().out)
    assert preset["num_parameters"] == 68_256_659
    assert preset["num_classes"] == 21843
    assert preset["url"].endswith("/bit_models/BiT-M-R50x1.npz")
    assert main(["presets", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) > 311


def test_presets_without_a_match(capsys):
    fails(capsys, ["presets", "vgg*"], "No preset matches vgg*")
    fails(capsys, ["presets", "bit_m*", "vgg*"], "No preset matches vgg*")


def test_predict_in_three_formats(capsys, run_folder):
    model = keras.saving.load_model(run_folder / "model.keras")
    arguments = ["predict", "--model", str(run_folder), *map(str, SOME_IMAGES)]
    assert main([*arguments, "--json", "--top_k=2"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["path"] for entry in listed] == list(map(str, SOME_IMAGES))
    for entry, path in zip(listed, SOME_IMAGES, strict=True):
        pixels = keras.utils.img_to_array(keras.utils.load_img(path))
        resized = keras.ops.image.resize(pixels, (32, 32), antialias=False)
        shares = np.array(keras.ops.softmax(model(resized[None] / 127.5 - 1)))[0]
        best = np.argsort(-shares)[:2]
        assert [p["label"] for p in entry["predictions"]] == [CLASSES[i] for i in best]
        given = [p["probability"] for p in entry["predictions"]]
        np.testing.assert_allclose(given, shares[best], rtol=1e-3)
    assert main([*arguments, "--format=csv", "--top_k=1"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    likeliest = [entry["predictions"][0] for entry in listed]
    assert [row["label"] for row in rows] == [first["label"] for first in likeliest]
    assert main([*arguments, "--top_k=1"]) == 0
    first = likeliest[0]
    line = f"{SOME_IMAGES[0]}: {first['label']} {first['probability']:.1%}\n"
    assert capsys.readouterr().out.startswith(line)


def test_predict_with_an_export_to_serve(capsys, tmp_path, run_folder):
    model = keras.saving.load_model(run_folder / "model.keras")
    bit_keras.export_saved_model(model, tmp_path / "s", "logits", form="serving")
    written = []
    for name in (run_folder, tmp_path / "s"):
        assert main(["predict", "--model", str(name), *map(str, SOME_IMAGES)]) == 0
        written.append(capsys.readouterr().out)
    assert written[0] == written[1]
    bit_keras.export_saved_model(model, tmp_path / "f", form="serving")
    command = ["predict", "--model", tmp_path / "f", SOME_IMAGES[0]]
    fails(
        capsys, command, "gives features alone; export the model with outputs=`logits`"
    )


def test_predict_what_is_not_there(capsys, tmp_path, run_folder):
    model = ["predict", "--model", run_folder]
    fails(capsys, [*model, tmp_path / "no.png"], "no.png is not there")
    fails(capsys, model, "Received: nothing")
    (tmp_path / "bad.png").write_bytes(SOME_IMAGES[0].read_bytes()[:60])
    fails(capsys, [*model, tmp_path / "bad.png"], "bad.png is damaged or no image")
    fails(capsys, ["predict", SOME_IMAGES[0]], "--model")
    fails(
        capsys,
        ["predict", "--model", tmp_path / "no.keras", SOME_IMAGES[0]],
        "no.keras is not there; give a preset",
    )
    for model, message in {
        "bit_m_r50x9": "such as bit_m_r50x",
        "runs/gone": "runs/gone is not there; give a preset",
        "gone.npz": "gone.npz is not there; give a preset",
    }.items():
        fails(capsys, ["predict", "--model", model, SOME_IMAGES[0]], message)


def test_a_damaged_or_foreign_keras_file(capsys, tmp_path, run_folder):
    whole = (run_folder / "model.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(
        tmp_path / "other.keras"
    )
    for name, message in {
        "cut": "cut.keras is not a whole .keras file",
        "other": "must hold a BiTClassifier. Received: Sequential",
    }.items():
        model = tmp_path / f"{name}.keras"
        fails(capsys, ["predict", "--model", model, SOME_IMAGES[0]], message)


def test_weights_are_for_presets_alone(capsys, run_folder):
    for command in (["finetune", "--model", run_folder], ["export", run_folder]):
        message = "Weights can be chosen for a preset alone"
        fails(capsys, [*command, "--weights=none"], message)


def test_evaluate_counts_all_of_a_split(capsys, tmp_path, run_folder):
    arguments = ["evaluate", "--model", str(run_folder), "--json"]
    assert main([*arguments, "--out_dir", str(tmp_path / "report")]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["num_examples"] == 400
    assert [entry["count"] for entry in figures["classes"]] == [20] * 20
    assert figures["num_correct"] == sum(e["correct"] for e in figures["classes"])
    files = {path.name for path in (tmp_path / "report").iterdir()}
    reports = {"report.json", "report.md", "report.html"}
    assert reports | {"confusion_matrix.png", "examples"} <= files
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["timings"]["evaluation"] > 0
    assert report["data"]["evaluated height and width"] == 32
    for ours, pair in zip(report["examples"], figures["confusions"], strict=False):
        assert len(ours) == min(6, pair["count"])
    assert main(["evaluate", "--model", str(run_folder), "--split=train"]) == 0
    assert "of 800" in capsys.readouterr().out


def test_fewshot_as_a_table_and_as_json(capsys, tmp_path, run_folder):
    arguments = ["fewshot", "--model", str(run_folder), "--method=probe", "--seeds=1"]
    arguments += ["--shots=2", "--image_size=32", "--out_dir", str(tmp_path / "few")]
    assert main([*arguments, "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["results"]
    assert (row["dataset"], row["examples_per_class"]) == ("doodles", 2)
    assert row["accuracies"] == [row["num_correct"][0] / 400]
    assert main(arguments) == 0
    *_, heads, line = capsys.readouterr().out.splitlines()
    assert heads.split() == ["Model", "Method", "2"]
    share = f"{100 * row['median']:.1f} %"
    assert line.split() == [run_folder.name, "linear", "probe", *share.split()]


def test_fewshot_mistakes(capsys, tmp_path, run_folder):
    command = ["fewshot", "--out_dir", tmp_path / "few", "--model"]
    for flags, message in {
        (run_folder, "--shots=1,x"): "--shots takes whole numbers with commas",
        (run_folder, "--l2=x"): "--l2 takes numbers with commas",
        (run_folder, "--shots=41"): "has 40 training images; give at most as many",
        (f"{run_folder},{run_folder}",): "Each model can be given once",
        (f"{run_folder},bit_m_r50x9",): "such as bit_m_r50x",
        (run_folder, "doodles"): "takes flags alone. Received: doodles",
    }.items():
        fails(capsys, [*command, *flags], message)
    assert not (tmp_path / "few").exists()


def test_vtab_looks_for_its_sets(capsys, tmp_path):
    assert main(["vtab", "--check_data", "--data_dir", str(tmp_path)]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "0 of 16 sets are ready."
    assert "dtd: download: TFDS downloads it when it is asked for" in lines
    [by_hand] = [line for line in lines if line.startswith("resisc45: by hand: downl")]
    assert "https://" in by_hand
    asked = ["vtab", "--check_data", "--data_dir", str(tmp_path), "--tasks=structured"]
    assert main([*asked, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    names = [row["dataset"] for row in rows]
    assert names == ["clevr", "dmlab", "kitti", "dsprites", "smallnorb"]


def test_vtab_mistakes(capsys, tmp_path, run_folder):
    fails(capsys, ["vtab"], "Give --model, or --check_data")
    command = ["vtab", "--data_dir", tmp_path, "--out_dir", tmp_path / "vtab"]
    command += ["--model", run_folder]
    for flags, message in {
        ("--tasks=natral",): "did you mean `natural`",
        ("--tasks=resisc45",): "The set resisc45 is not ready: download NWPU",
        ("--skip_missing",): "None of the sets is there; `bit-keras vtab --check_data`",
        ("--rates=x",): "--rates takes numbers with commas",
        ("--search", "--steps=3"): "A search chooses the number of steps",
        ("--seeds=0",): "--seeds",
    }.items():
        fails(capsys, [*command, *flags], message)
    assert not (tmp_path / "vtab").exists()


def test_reproduce_lists_its_runs(capsys, tmp_path):
    command = ["reproduce", "table1", "--plan_only", "--out_dir", str(tmp_path / "t")]
    assert main([*command, "--json"]) == 0
    text = capsys.readouterr()
    report = json.loads(text.out)
    assert [row["published"] for row in report["figures"]][:3] == [87.54, 98.46, 99.37]
    assert {row["state"] for row in report["experiments"]} == {"skipped"}
    assert "l-r152x4-cifar10: 3.14 h, skipped: BiT-L-R152x4 was never" in text.err
    assert main([*command, "--only=l-r152x4-vtab", "--images_per_second=13282"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("l-r152x4-vtab: 16.08 h, skipped")
    assert len(lines) == 4


def test_reproduce_mistakes(capsys, tmp_path):
    for arguments, message in {
        (): "Give one table: table1, table2, fewshot, vtab. Received: none",
        ("table1", "table2"): "Give one table",
        ("tabel1",): "`table` must be one of table1, table2",
        ("table1", "--only=r50"): "No experiment of table1 begins with r50; there are",
        ("table1", "--weights_dir", tmp_path / "gone"): "gone is no folder",
    }.items():
        fails(
            capsys,
            ["reproduce", "--plan_only", "--out_dir", tmp_path / "t", *arguments],
            message,
        )
    assert not (tmp_path / "t").exists()


def test_evaluate_on_other_classes(capsys, tmp_path, run_folder):
    for name in ("apple", "eye"):
        (tmp_path / "two" / name).mkdir(parents=True)
        for path in sorted((doodles_folder() / "test" / name).iterdir())[:4]:
            (tmp_path / "two" / name / path.name).write_bytes(path.read_bytes())
    fails(
        capsys,
        ["evaluate", "--model", run_folder, "--dataset", tmp_path / "two"],
        "The model has 20 classes, but two has 2",
    )


def test_convert_there_and_back_keeps_every_bit(capsys, tmp_path, npz):
    for name in ("a.safetensors", "b.keras", "c.npz"):
        assert main(["convert", str(npz), str(tmp_path / name)]) == 0
        assert f"Wrote {tmp_path / name}: R[1,1,1,1]x1 with 3 classes" in (
            capsys.readouterr().out
        )
    for source in ("a.safetensors", "b.keras", "c.npz"):
        target = tmp_path / f"{source}.npz"
        assert main(["convert", str(tmp_path / source), str(target)]) == 0
        with np.load(npz) as expected, np.load(target) as actual:
            assert expected.files == actual.files
            for name in expected.files:
                np.testing.assert_array_equal(actual[name], expected[name])


def test_convert_to_keras_weights(tmp_path, npz):
    target = tmp_path / "d.weights.h5"
    assert main(["convert", str(npz), str(target)]) == 0
    expected = bit_keras.BiTClassifier.from_checkpoint(npz)
    actual = bit_keras.BiTClassifier.from_architecture(expected.architecture)
    bit_keras.load_weights(actual, target)
    for one, other in zip(actual.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_convert_what_cannot_be(capsys, tmp_path, npz):
    fails(capsys, ["convert", npz], "two files, SOURCE and TARGET")
    fails(capsys, ["convert", npz, tmp_path / "a.pt"], "must end in one of .npz")
    fails(capsys, ["convert", npz, npz], "exists; name another file")
    fails(capsys, ["convert", tmp_path / "no.npz", tmp_path / "a.npz"], "no.npz")
    npz.write_bytes(npz.read_bytes()[:100_000])
    fails(capsys, ["convert", npz, tmp_path / "a.npz"], "tiny.npz")
    assert list(tmp_path.iterdir()) == [npz]


def test_export_of_a_checkpoint(capsys, tmp_path, npz):
    target = tmp_path / "exported"
    assert main(["export", str(npz), "--out_dir", str(target)]) == 0
    saved_model, card = capsys.readouterr().out.splitlines()
    assert saved_model.startswith(
        "SavedModel, trainable, images in [0, 1] to features: "
        f"{target / 'saved_model'} ("
    )
    assert card == f"Model card: {target / 'README.md'}"
    assert (target / "saved_model" / "saved_model.pb").is_file()
    fails(capsys, ["export", npz, "--out_dir", target], "exists; choose another")
    fails(capsys, ["export"], "takes one MODEL. Received: none")
    fails(capsys, ["export", npz, "--outputs=all_of_it"], "--outputs=all_of_it")
    fails(capsys, ["export", "bit_l_r50x1"], "has no published weights")


def test_export_hands_its_flags_on(monkeypatch, npz):
    calls = []
    monkeypatch.setattr(export_command, "export", lambda *a, **o: calls.append((a, o)))
    flags = "--form=both --variables=float16 --input_range=-1,1 --outputs=logits"
    more = "--formats=saved_model,onnx --archive --overwrite --weights=mine.npz"
    assert main(["export", "bit_m_r50x1", *flags.split(), *more.split()]) == 0
    assert main(["export", str(npz), "--out_dir=there", "--input_range=uint8"]) == 0
    options = {
        "outputs": "logits",
        "input_range": (-1, 1),
        "form": "both",
        "variables": "float16",
        "formats": ("saved_model", "onnx"),
        "archive": True,
        "overwrite": True,
        "say": print,
    }
    defaults = {
        "outputs": "features",
        "input_range": "uint8",
        "form": "trainable",
        "variables": "float32",
        "formats": ("saved_model",),
        "archive": False,
        "overwrite": False,
        "say": print,
    }
    assert calls == [
        (("bit_m_r50x1", None), {"weights": "mine.npz", **options}),
        ((str(npz), "there"), {"weights": "published", **defaults}),
    ]


def test_export_of_all_that_is_here(capsys, tmp_path, monkeypatch, npz):
    monkeypatch.setenv("BIT_KERAS_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    nothing = ["export", "--all", f"--weights_dir={tmp_path}"]
    fails(capsys, nothing, "There is no weight file of a preset in")
    message = "--weights is for one MODEL, and --weights_dir for --all"
    fails(capsys, ["export", "--all", "--weights=none"], message)
    fails(capsys, ["export", npz, "--weights_dir=here"], message)
    fails(capsys, ["export", "--all", npz], "takes flags alone")
    damaged = tmp_path / "BiT-M-R50x1-ILSVRC2012.npz"
    damaged.write_bytes(npz.read_bytes()[:1000])
    assert main(["export", "--all", f"--weights_dir={tmp_path}", "--out_dir=o"]) == 1
    output = capsys.readouterr()
    assert "1 of 2 presets failed: bit_m_r50x1_ilsvrc2012: " in output.err
    skipped = f"skipped without a weight file: {len(PRESETS) - 2} ("
    assert f"Exported: 1; {skipped}" in output.out
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["t-r26x05"]
