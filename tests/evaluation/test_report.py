import base64
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from identity_model import as_batches

from bit_keras.evaluation import describe_environment, report, write_pictures
from bit_keras.evaluation.markdown import to_markdown
from bit_keras.evaluation.report_document import report_document

KEYS = [
    "schema",
    "title",
    "created",
    "notes",
    "split",
    "evaluation",
    "model",
    "data",
    "recipe",
    "seed",
    "timings",
    "input_wait",
    "environment",
    "pictures",
    "examples",
    "history",
]


def write(out_dir, evaluation, **kwargs):
    """Writes a report and returns the contents of its JSON and Markdown files."""
    settings = {
        "title": "Fruit",
        "model_summary": {"name": "bit_s_r50x1", "num_parameters": 23508548},
        "data": {},
        "recipe": {},
    }
    paths = report.write_report(out_dir, evaluation=evaluation, **settings | kwargs)
    names = ("report.json", "report.md", "report.html")
    assert paths == tuple(out_dir / name for name in names)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = paths[0].read_text(encoding="utf-8")
    return json.loads(text, parse_constant=refuse), paths[1].read_text(encoding="utf-8")


def rows(markdown, section):
    """Returns the cells of a section's table, without its head."""
    body = markdown.split(f"## {section}\n")[1].split("\n## ")[0]
    table = [line for line in body.splitlines() if line.startswith("|")]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in table[2:]]


def stripped(table):
    return [tuple(cell.strip() for cell in row) for row in table]


def test_the_json_has_all_keys_whatever_was_given(tmp_path, fruit):
    least, _ = write(tmp_path / "least", fruit)
    most, _ = write(
        tmp_path / "most",
        fruit,
        history={"loss": [1.0]},
        timings={"training": 1.0},
        input_wait=0.25,
        seed=3,
        notes=["Short."],
    )
    assert list(least) == list(most) == KEYS
    assert least["schema"] == 1
    assert least["evaluation"] == json.loads(json.dumps(fruit.to_dict()))
    assert most["history"] == {"loss": [1.0]}
    assert (least["seed"], most["seed"]) == (None, 3)
    assert (least["input_wait"], most["input_wait"]) == (None, 0.25)
    assert least["model"] == {"name": "bit_s_r50x1", "num_parameters": 23508548}


def test_the_json_takes_what_python_code_has_at_hand(tmp_path, fruit):
    recipe = {
        "learning_rate": np.float32(0.25),
        "steps": np.array([1, 2]),
        "loss": float("nan"),
        "limits": (float("inf"), True),
        "folder": tmp_path,
        7: None,
    }
    contents, _ = write(tmp_path, fruit, recipe=recipe)
    assert contents["recipe"] == {
        "learning_rate": 0.25,
        "steps": [1, 2],
        "loss": None,
        "limits": [None, True],
        "folder": str(tmp_path),
        "7": None,
    }


def test_the_headline_has_exact_counts_and_the_interval(tmp_path, fruit):
    contents, markdown = write(tmp_path, fruit, notes=["From *random* weights."])
    assert markdown.startswith(
        "# Fruit\n\n**Accuracy 62.5 %: 5 of 8 test images right** "
        "(95 % confidence interval 30.6 % to 86.3 %, Wilson).\n\n"
    )
    assert f"Mean cross-entropy {fruit.loss:.4f}, expected calib" in markdown
    error = 100 * fruit.calibration.error
    assert f"ration error {error:.1f} %." in markdown
    # With four classes the true one is always in the top five.
    assert "Top-5" not in markdown
    assert contents["evaluation"]["top1_interval"] == pytest.approx(
        [0.30574, 0.86315], abs=1e-5
    )
    assert "\n- From \\*random\\* weights.\n" in markdown


def test_the_headline_names_the_split(tmp_path, fruit):
    contents, markdown = write(tmp_path, fruit, split="train")
    assert "5 of 8 train images right" in markdown
    assert contents["split"] == "train"


def test_large_sets_get_two_decimals_and_many_classes_the_top_five(tmp_path, evaluate):
    labels = np.arange(1000) % 8
    logits = np.eye(8)[labels] + 0.5 * np.eye(8)[(labels + 1) % 8]
    labels[:3] = (labels[:3] + 1) % 8
    labels[3] = 2
    labels[4] = 3
    # Three labels are the second choice; the others' order among equal logits is that
    # of the classes: for image 3 class 2 comes fifth, for image 4 class 3 sixth.
    _, markdown = write(tmp_path, evaluate(logits, labels))
    assert "Accuracy 99.50 %: 995 of 1,000 test images right" in markdown
    assert "Top-5 accuracy 99.90 % (999 of 1,000)." in markdown


def test_settings_are_one_table(tmp_path, fruit):
    _, markdown = write(
        tmp_path,
        fruit,
        data={"name": "a|b", "image_size": [32, 48], "flipped": True, "seed": None},
        recipe={"learning_rate": 3e-5, "mixup": {"alpha": 0.1}},
    )
    assert stripped(rows(markdown, "Settings")) == [
        ("model", "name", "bit_s_r50x1"),
        ("", "num parameters", "23,508,548"),
        ("data", "name", r"a\|b"),
        ("", "image size", "32, 48"),
        ("", "flipped", "yes"),
        ("", "seed", "–"),
        ("recipe", "learning rate", "3e-05"),
        ("", "mixup", "alpha: 0.1"),
    ]


def test_the_least_accurate_class_comes_first(tmp_path, fruit):
    _, markdown = write(tmp_path, fruit)
    assert stripped(rows(markdown, "Classes")) == [
        ("pear", "1 of 3", "33.3 %"),
        ("apple", "2 of 3", "66.7 %"),
        ("plum", "2 of 2", "100.0 %"),
        ("quince", "0 of 0", "–"),
    ]
    assert stripped(rows(markdown, "Most frequent confusions")) == [
        ("pear", "apple", "2"),
        ("apple", "pear", "1"),
    ]


def test_of_equally_accurate_classes_the_larger_comes_first(tmp_path, evaluate):
    labels = [0, 1, 1, 2]
    _, markdown = write(tmp_path, evaluate(np.eye(3)[labels], labels))
    assert stripped(rows(markdown, "Classes")) == [
        ("1", "2 of 2", "100.0 %"),
        ("0", "1 of 1", "100.0 %"),
        ("2", "1 of 1", "100.0 %"),
    ]


def test_long_tables_are_cut_and_say_so(tmp_path, evaluate):
    labels = (np.arange(120) + (np.arange(120) < 15)) % 120
    contents, markdown = write(tmp_path, evaluate(np.eye(120), labels))
    assert "The 100 least accurate of 120; all of them are in report.json." in markdown
    assert len(rows(markdown, "Classes")) == 100
    assert len(contents["evaluation"]["classes"]) == 120
    assert len(rows(markdown, "Most frequent confusions")) == 10
    assert len(contents["evaluation"]["confusions"]) == 15


def test_without_errors_there_are_no_confusions(tmp_path, evaluate):
    contents, markdown = write(tmp_path, evaluate(np.eye(2), [0, 1]))
    assert "confusions" not in markdown
    assert contents["evaluation"]["confusions"] == []


def test_names_are_not_taken_for_markdown(tmp_path, evaluate):
    names = ["a|b", "<b>*x*</b>", "_hidden_", "snake_case", "two\nlines", "`$x$`"]
    _, markdown = write(tmp_path, evaluate(np.eye(6), range(6), names))
    assert [row[0] for row in stripped(rows(markdown, "Classes"))] == [
        r"a\|b",
        r"\<b\>\*x\*\</b\>",
        r"\_hidden\_",
        "snake_case",
        "two lines",
        r"\`\$x\$\`",
    ]


def test_names_that_no_text_can_hold_are_spelt_out(tmp_path, evaluate):
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    evaluation = evaluate(np.eye(2), [0, 1], [name, "tea"])
    contents, markdown = write(tmp_path, evaluation)
    assert contents["evaluation"]["classes"][0]["name"] == name
    assert "| caf\\udce9 |" in markdown
    assert "<td>caf\\udce9</td>" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.5, "59.5 s"), (60, "1 min 00 s"), (3725.6, "1 h 02 min")],
)
def test_times_are_worded(tmp_path, fruit, seconds, words):
    _, markdown = write(tmp_path, fruit, timings={"training": seconds}, seed=12345)
    run = dict(stripped(rows(markdown, "Run")))
    assert run["time, training"] == words
    assert run["seed"] == "12345"
    assert "time, total" not in run


@pytest.mark.parametrize(
    ("share", "words"),
    [(None, None), (0.0, "0.0 % of the time"), (0.6249, "62.5 % of the time")],
)
def test_the_run_tells_how_long_training_waited(tmp_path, fruit, share, words):
    _, markdown = write(tmp_path, fruit, input_wait=share)
    run = dict(stripped(rows(markdown, "Run")))
    assert run.get("training waited for images") == words


def test_the_run_tells_the_total_time_and_the_versions(tmp_path, fruit):
    timings = {"training": 70.0, "evaluation": 5.0}
    contents, markdown = write(tmp_path, fruit, timings=timings)
    run = dict(stripped(rows(markdown, "Run")))
    assert run["time, total"] == "1 min 15 s"
    assert run["keras"] == keras.__version__
    assert run["tensorflow"] == tf.__version__
    assert run["numpy"] == np.__version__
    date, time = contents["created"].removesuffix("+00:00").split("T")
    assert run["date"] == f"{date} {time} UTC"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", contents["created"])
    assert run["device"] == contents["environment"]["device"]


def test_accelerators_are_counted_by_name(monkeypatch):
    gpus = [tf.config.PhysicalDevice(f"GPU:{i}", "GPU") for i in range(3)]
    names = dict(zip(gpus, ["H100", "H100", "L4"], strict=True))
    visible = [tf.config.PhysicalDevice("CPU:0", "CPU"), *gpus]
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda: visible)
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda device: {"device_name": names[device]},
    )
    assert describe_environment()["device"] == "2 x H100, 1 x L4"


def test_pictures_are_drawn_and_shown_by_relative_name(tmp_path, fruit):
    logits = np.zeros((8, 4))
    images = as_batches(logits, fruit.labels).map(
        lambda images, labels: (images[..., :3], labels)
    )
    out_dir = tmp_path / "run 1"
    history = {"loss": [1.0, 0.5]}
    pictures, _ = write_pictures(out_dir, fruit, images, history=history)
    names = ["learning_curve.png", "confusion_matrix.png"]
    names += ["calibration.png", "predictions.png"]
    assert list(pictures.values()) == [out_dir / name for name in names]
    files = {path.name for path in out_dir.iterdir()}
    assert files == {*names, "examples"}
    (out_dir / "plots").mkdir()
    moved = pictures["Learning curve"].rename(out_dir / "plots" / "loss (1).png")
    pictures |= {"Learning curve": moved, "Lost": out_dir / "lost.png"}
    contents, markdown = write(out_dir, fruit, pictures=pictures)
    assert [picture["file"] for picture in contents["pictures"]] == [
        "plots/loss (1).png",
        "confusion_matrix.png",
        "calibration.png",
        "predictions.png",
    ]
    assert "\n![Learning curve](plots/loss%20%281%29.png)\n" in markdown
    assert "\n![Confusion matrix](confusion_matrix.png)\n" in markdown


def test_what_cannot_be_drawn_is_left_out(tmp_path, evaluate):
    pictures, examples = write_pictures(tmp_path, evaluate(np.eye(2), [0, 1]))
    assert (list(pictures), examples) == (["Confusion matrix", "Calibration"], [])
    many, _ = write_pictures(tmp_path, evaluate(np.zeros((1, 1001)), [0]))
    assert list(many) == ["Calibration"]


def test_the_surest_images_of_confusions_are_shown(tmp_path, fruit):
    """Examples 5 and 4 are pears taken for apples, the surest first; 2 is an apple."""
    shades = np.linspace(-1, 1, 8)[:, None, None, None]
    images = np.broadcast_to(shades, (8, 120, 240, 3))
    batches = tf.data.Dataset.from_tensor_slices((images, np.eye(4)[fruit.labels]))
    pictures, examples = write_pictures(tmp_path, fruit, batches.batch(3))
    contents, markdown = write(tmp_path, fruit, pictures=pictures, examples=examples)
    shown = [[example["number"] for example in ours] for ours in contents["examples"]]
    assert shown == [[5, 4], [2]]
    names = {example["file"] for ours in examples for example in ours}
    assert names == {f"examples/{number}.jpg" for number in (2, 4, 5)}
    for ours in examples:
        for example in ours:
            number = example["number"]
            small = tf.io.decode_jpeg((tmp_path / example["file"]).read_bytes())
            assert small.shape == (48, 96, 3)
            # 255 / 7 for each step from black to white, but for what JPEG loses.
            assert np.abs(small.numpy() - number * 255 / 7).max() <= 3
            assert example["confidence"] == pytest.approx(fruit.confidences[number])
    # Of four logits, three of them 0: e^6 / (e^6 + 3) is 0.993, e^5 / (e^5 + 3) 0.980.
    assert stripped(rows(markdown, "Most frequent confusions"))[0] == (
        "pear",
        "apple",
        "2",
        "![Image 5, 99 % sure](examples/5.jpg) ![Image 4, 98 % sure](examples/4.jpg)",
    )
    page = (tmp_path / "report.html").read_text()
    encoded = base64.b64encode((tmp_path / "examples" / "5.jpg").read_bytes()).decode()
    image = f'<img src="data:image/jpeg;base64,{encoded}" alt="Image 5, 99 % sure"'
    assert page.index('<td class="number">2</td>') < page.index(image)


def test_markdown_needs_nothing_but_the_json(tmp_path, fruit):
    contents, markdown = write(tmp_path, fruit, timings={"training": 1.5}, seed=1)
    assert to_markdown(report_document(contents)) == markdown
