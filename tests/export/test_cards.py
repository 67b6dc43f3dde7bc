"""Model cards say what is in the table of presets, and their code runs."""

import json
import pathlib
import re
import shutil
import subprocess
import warnings

import numpy as np
import pytest

from bit_keras.assets import doodles_folder
from bit_keras.export import cards
from bit_keras.export.cards import render_card
from bit_keras.export.families import (
    FAMILIES,
    folder_of,
    handle_of,
    recipe_of,
)
from bit_keras.export.saved_model import export_saved_model
from bit_keras.export.subjects import subject_of_family, subject_of_model
from bit_keras.models.classifier import BiTClassifier
from bit_keras.models.presets import PRESETS
from bit_keras.published import published

ROOT = pathlib.Path(__file__).parents[2]
HOW = "run `bit_keras.workflows.export_cards.write_cards()` in the root of the project"


@pytest.mark.parametrize("handle", FAMILIES)
def test_committed_cards_are_what_the_code_renders(handle):
    family, folder = FAMILIES[handle], ROOT / "exports" / handle
    file = folder / cards.MEASURED_FILE
    measured = json.loads(file.read_text()) if file.is_file() else None
    subject = subject_of_family(family, pathlib.PurePath("exports", handle))
    assert (folder / cards.CARD_FILE).read_text() == render_card(subject, measured), HOW
    recipe = json.loads((folder / cards.RECIPE_FILE).read_text())
    assert recipe == family.recipe(), HOW


def test_there_is_a_folder_for_each_family_and_no_other():
    tracked = {path.parent.name for path in ROOT.glob("exports/*/recipe.json")}
    assert tracked >= FAMILIES.keys()
    carded = [preset for family in FAMILIES.values() for preset in family.presets]
    public = [preset for preset in PRESETS.values() if "_l_" not in preset.name]
    assert sorted(p.name for p in carded) == sorted(p.name for p in public)


def test_handles_and_folders():
    assert {
        name: (handle_of(PRESETS[name]), folder_of(PRESETS[name]))
        for name in (
            "bit_s_r152x4",
            "bit_m_r50x1_ilsvrc2012",
            "bit_m_r50x3_vtab_dsprites_xpos_run2",
            "bit_distill_r152x2_teacher_384",
            "bit_t_r26x05",
        )
    } == {
        "bit_s_r152x4": ("s-r152x4",) * 2,
        "bit_m_r50x1_ilsvrc2012": ("m-r50x1-ilsvrc2012",) * 2,
        "bit_m_r50x3_vtab_dsprites_xpos_run2": (
            "m-r50x3-vtab",
            "m-r50x3-vtab/dsprites-xpos-run2",
        ),
        "bit_distill_r152x2_teacher_384": ("distill-r152x2-teacher-384",) * 2,
        "bit_t_r26x05": ("t-r26x05",) * 2,
    }


def test_recipes_say_how_the_weights_were_trained():
    upstream = recipe_of(PRESETS["bit_s_r50x1"])["upstream"]
    assert (upstream["variant"], upstream["loss"]) == ("S", "softmax")
    assert upstream["num_examples"] == 1_281_167
    recipe = recipe_of(PRESETS["bit_m_r50x1_ilsvrc2012"])
    assert (recipe["upstream"]["variant"], recipe["upstream"]["loss"]) == (
        "M",
        "sigmoid",
    )
    assert recipe["fine_tuning"]["steps"] == 20_000
    assert recipe["fine_tuning"]["mixup_alpha"] == 0.1
    student = recipe_of(PRESETS["bit_distill_r50x1_160"])
    assert student.keys() == {"distillation", "notes"}
    teacher = recipe_of(PRESETS["bit_distill_r152x2_teacher_384"])
    assert teacher["upstream"]["variant"] == "M"
    assert "not published in full" in teacher["notes"][-1]


def test_recipes_of_vtab_are_those_of_the_task():
    expected = {
        "dtd": ("random", "random", 512),
        "kitti_distance": ("none", "random", 512),
        "smallnorb_azimuth": ("random", "none", 512),
        "dsprites_xpos": ("none", "none", 160),
        "dsprites_orientation": ("random", "none", 160),
        "cifar100": ("random", "random", 160),
    }
    for task, values in expected.items():
        recipe = recipe_of(PRESETS[f"bit_m_r101x1_vtab_{task}_run1"])["fine_tuning"]
        found = (recipe["cropping"], recipe["flip"], recipe["resize"])
        assert found == values, task
        assert (recipe["num_examples"], recipe["steps"]) == (1000, 500)


def test_recipes_end_at_the_size_that_a_preset_is_evaluated_at():
    checked = 0
    for preset in PRESETS.values():
        recipe = recipe_of(preset)
        last = recipe.get("fine_tuning") or recipe.get("distillation")
        if last:
            assert last["crop"] == preset.image_size, preset.name
            checked += 1
    assert checked == 6 + 285 + 2


def test_figures_are_marked_as_those_of_others():
    for handle in FAMILIES:
        figures = published(handle=handle)
        text = (ROOT / "exports" / handle / cards.CARD_FILE).read_text()
        others, measured = re.findall(
            r"## Published figures\n(.*)## Measured here\n(.*)## Licence", text, re.S
        )[0]
        for figure in figures:
            row = f"| {figure.what} | {figure.value} % | {figure.cited} |"
            assert row in others
            assert f"{figure.value} %" not in measured
    assert "80.68 %" in (ROOT / "exports/m-r50x1/README.md").read_text()
    unknown = (ROOT / "exports/s-r50x1/README.md").read_text()
    assert "None are known for these very weights." in unknown


def test_what_was_measured_is_told_of_each_file():
    subject = subject_of_family(FAMILIES["m-r50x1"], pathlib.PurePath("exports"))
    assert "Not exported yet" in render_card(subject)
    saved_model = {"content": "SavedModel", "num_bytes": 94_320_000, "deviation": 2e-8}
    archive = {"content": "packed", "num_bytes": 87_000_000, "deviation": None}
    files = {"saved_model": saved_model, "saved_model.tar.gz": archive}
    model = {"weights": "these weights", "made_with": "Keras 3", "files": files}
    text = render_card(subject, {"bit_m_r50x1": model})
    assert "Not exported yet" not in text
    assert "| `saved_model` | SavedModel | 94.3 MB | 2.0e-08 |" in text
    assert "| `saved_model.tar.gz` | packed | 87.0 MB | – |" in text
    assert "- bit_m_r50x1: these weights; written by Keras 3." in text


def test_the_code_of_a_card_runs(named_model, tmp_path):
    """Each of the four ways, as it stands in the card of a small model."""
    export_saved_model(named_model, tmp_path / "saved_model")
    text = render_card(subject_of_model(named_model, "small", tmp_path))
    file = sorted((doodles_folder() / "test" / "apple").iterdir())[0]
    images = np.random.default_rng(0).uniform(size=(1, 40, 48, 3)).astype("float32")
    expected = named_model.features(2 * images - 1)
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) == 4
    for block in blocks:
        names = {"images": images, "contents_of_files": [file.read_bytes()]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tensorflow-hub imports pkg_resources
            exec(block, names)
        np.testing.assert_allclose(names["outputs"], expected, rtol=1e-3, atol=1e-4)
        if "classifier" in names:
            assert names["classifier"](images).shape == (1, 10)
        if "answers" in names:
            assert names["answers"]["features"].shape == (1, 1024)


def test_a_card_lists_no_thousand_names(named_model, tmp_path):
    card = render_card(subject_of_model(named_model, "small", tmp_path))
    assert "`[batch, 3]` of apple, übung, a b" in card
    model = BiTClassifier.from_config(named_model.get_config())
    model.reset_head(1000, PRESETS["bit_s_r50x1"].class_names)
    card = render_card(subject_of_model(model, "large", tmp_path))
    assert "`assets/class_names.txt`" in card and "tench" not in card


def test_git_ignores_what_is_exported_and_keeps_the_cards():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a working tree of git")
    written = ["saved_model/saved_model.pb", "saved_model_serving/saved_model.pb"]
    written += ["saved_model.tar.gz", "model.onnx", "model_int8.tflite"]
    written += [f"task-run0/{name}" for name in written]
    kept = [cards.CARD_FILE, cards.RECIPE_FILE, cards.MEASURED_FILE]
    done = subprocess.run(
        ["git", "check-ignore", *(f"exports/new/{name}" for name in written + kept)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [f"exports/new/{name}" for name in written]
