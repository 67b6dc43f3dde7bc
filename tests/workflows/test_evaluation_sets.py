"""ImageNet's variants from the command to the figures, with sets of a few images."""

import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from data.variant_sets import write_set

import bit_keras
from bit_keras.assets.label_maps import classes_of, imagenet2012
from bit_keras.cli.main import main
from bit_keras.errors import InputError
from bit_keras.workflows.evaluate import evaluate

SIZE = 32
NUM_IMAGES = 11
IMAGES = np.random.default_rng(0).integers(
    0, 256, (NUM_IMAGES, SIZE, SIZE, 3), np.uint8
)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
    made = bit_keras.BiTClassifier(
        backbone, 1000, class_names=imagenet2012().class_names, image_size=SIZE
    )
    made.head.kernel.assign(np.random.default_rng(1).normal(0, 0.1, (1024, 1000)))
    return made


@pytest.fixture(scope="module")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def logits(model):
    return np.array(model(IMAGES / 127.5 - 1.0), np.float64)


def ranked(row, among):
    return sorted(among, key=lambda place: (-row[place], place))


def some_labels(logits, among):
    """Returns labels of which some are ranked first, some fifth and some sixth."""
    wanted = [0, 4, 5, 0, 1, 5, 150, 0, 2, 4, 7][: len(logits)]
    return [ranked(row, among)[w] for row, w in zip(logits, wanted, strict=True)]


@pytest.mark.parametrize("name", ["imagenet_a", "imagenet_r"])
def test_sets_of_200_classes(name, model_file, logits, tmp_path, capsys):
    among = [imagenet2012().ids.index(synset) for synset in classes_of(name)]
    labels = some_labels(logits, among)
    write_set(tmp_path, name, "test", IMAGES, label=labels)
    arguments = ["evaluate", "--model", str(model_file), "--dataset", name]
    assert main([*arguments, "--data_dir", str(tmp_path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["num_correct"], figures["num_correct_top5"]) == (3, 7)
    assert (figures["num_examples"], figures["num_classes"]) == (NUM_IMAGES, 200)
    rows = list(zip(logits, labels, strict=True))
    of_all = figures["among_all_classes"]
    assert of_all["num_correct"] == sum(np.argmax(row) == label for row, label in rows)
    assert of_all["num_correct_top5"] == sum(
        label in ranked(row, range(1000))[:5] for row, label in rows
    )
    chosen = logits[:, among]
    shares = np.exp(chosen) / np.exp(chosen).sum(axis=1, keepdims=True)
    of_labels = shares[range(NUM_IMAGES), [among.index(label) for label in labels]]
    assert figures["loss"] == pytest.approx(-np.log(of_labels).mean(), rel=1e-4)
    assert main([*arguments, "--data_dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Top-5: 63.64 %, 7 of 11" in printed
    assert "The model chooses among 200 classes." in printed


def test_real(model, logits, tmp_path):
    listed = [ranked(row, range(1000))[3:6] for row in logits]
    listed[0] = [ranked(logits[0], range(1000))[0], 17, 18]
    listed[1] = []
    listed[2] = ranked(logits[2], range(1000))[5:9]
    write_set(
        tmp_path,
        "imagenet2012_real",
        "validation",
        IMAGES,
        original_label=[0] * NUM_IMAGES,
        real_label=listed,
    )
    evaluation = evaluate(model, "imagenet2012_real", data_dir=tmp_path, progress=False)
    assert evaluation.num_examples == NUM_IMAGES - 1
    assert evaluation.num_left_out == 1
    assert (evaluation.num_correct, evaluation.num_correct_top5) == (1, NUM_IMAGES - 2)


def test_v2_is_an_evaluation_as_any_other(model, logits, tmp_path):
    labels = some_labels(logits, range(1000))
    write_set(tmp_path, "imagenet_v2/topimages", "test", IMAGES, label=labels)
    with warnings.catch_warnings():  # Names and ids are the same classes.
        warnings.simplefilter("error")
        evaluation = evaluate(
            model, "imagenet_v2/topimages", data_dir=tmp_path, progress=False
        )
    assert (evaluation.num_correct, evaluation.num_correct_top5) == (3, 7)
    assert evaluation.num_classes == 1000
    assert evaluation.labels.tolist() == labels
    with pytest.raises(InputError, match="to test on alone. Received: split 'train'"):
        evaluate(model, "imagenet_v2/topimages", "train", data_dir=tmp_path)


def write_folder(folder, images_of):
    for name, images in images_of.items():
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(images):
            content = tf.io.encode_png(image).numpy()
            (folder / name / f"{number:02}.png").write_bytes(content)


def test_objectnet_with_a_report(model, logits, tmp_path):
    places = {"alarm_clock": [409, 530], "chair": [423, 559, 765], "wok": [909]}
    numbers = {"alarm_clock": range(4), "chair": range(4, 9), "wok": range(9, 11)}
    bordered = np.pad(IMAGES, [(0, 0), (2, 2), (2, 2), (0, 0)])
    images_of = {name: bordered[list(of)] for name, of in numbers.items()}
    write_folder(tmp_path / "images", images_of | {"air_freshener": bordered[:1]})
    # A bias that makes these classes likely.
    bias = np.zeros(1000, np.float32)
    bias[[409, 559, 909]] = 12, 11, 11.5
    model.head.bias.assign(bias)
    with pytest.warns(UserWarning, match="Of the 113 classes"):
        evaluation = evaluate(
            model,
            "objectnet",
            data_dir=tmp_path,
            out_dir=tmp_path / "report",
            progress=False,
        )
    model.head.bias.assign(np.zeros(1000, np.float32))
    counts = np.zeros((2, 3), int)
    for label, name in enumerate(places):
        for number in numbers[name]:
            ranks = ranked(logits[number] + bias, range(1000))
            counts[0, label] += ranks[0] in places[name]
            counts[1, label] += bool(set(ranks[:5]) & set(places[name]))
    assert 0 < counts[0].sum() < NUM_IMAGES
    assert evaluation.class_names == (*places, "another class")
    assert evaluation.class_counts.tolist() == [4, 5, 2, 0]
    assert evaluation.class_correct.tolist() == [*counts[0], 0]
    assert evaluation.num_correct_top5 == counts[1].sum()
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["evaluation"]["num_correct"] == counts[0].sum()
    assert "The model chooses among 1,000 classes." in report["notes"]
    files = {path.name for path in (tmp_path / "report").iterdir()}
    assert {"confusion_matrix.png", "predictions.png", "report.md"} <= files


def test_a_folder_of_some_classes(model, logits, tmp_path, capsys, model_file):
    order = [ranked(row, range(1000)) for row in logits]
    first, fifth = order[0][0], order[1][4]
    assert first != fifth
    ids, names = imagenet2012().ids, imagenet2012().class_names
    write_folder(
        tmp_path / "odd",
        {ids[first]: IMAGES[:1], names[fifth].replace(" ", "_"): IMAGES[1:2]},
    )
    arguments = ["evaluate", "--model", str(model_file), "--dataset"]
    assert main([*arguments, str(tmp_path / "odd")]) == 0
    printed = capsys.readouterr().out
    assert "Accuracy: 50.00 %, 1 of 2" in printed
    assert "Top-5: 100.00 %, 2 of 2" in printed
    assert f"  {ids[first]:24s}      1 of      1" in printed
    assert "The model chooses among 1,000 classes." in printed


def test_mistakes(capsys, tmp_path, model_file):
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
    bit_keras.BiTClassifier(backbone, 10, image_size=SIZE).save(tmp_path / "ten.keras")
    write_folder(tmp_path / "pets", {"cat": IMAGES[:1], "n02123045": IMAGES[:1]})
    for model, dataset, message in [
        (tmp_path / "ten.keras", "imagenet_a", "1,000 classes of ILSVRC-2012, such as"),
        (model_file, "objectnet", "give the folder objectnet-1.0"),
        (model_file, tmp_path / "pets", "a name that no other has. Received: cat"),
        (model_file, "doodles", "The model has 1000 classes, but doodles has 20"),
    ]:
        arguments = ["evaluate", "--model", model, "--dataset", dataset]
        assert main([*map(str, arguments), "--data_dir", str(tmp_path)]) == 2
        output = capsys.readouterr()
        assert message in output.err
        assert output.err.count("\n") == 1 and not output.out
