"""Few-shot jobs as a whole, and the two methods."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from small_runs import (
    Uncompiled,
    all_weights,
    make_model,
    make_source,
    relative_l2,
)

from bit_keras.data.subsets import draw_balanced
from bit_keras.errors import InputError, Interrupted
from bit_keras.models.classifier import BiTClassifier
from bit_keras.training.fit import train
from bit_keras.workflows import fewshot_methods, fewshot_options
from bit_keras.workflows.fewshot import fewshot
from bit_keras.workflows.fewshot_methods import FewShotSet, FineTuning
from bit_keras.workflows.fine_tuner import FineTuner, FrozenModel

SOURCE = make_source(num_examples=30, num_test=12)
STEPS = {"batch_size": 4, "steps": 3, "resize": 32, "crop": 32}


def recipe_of(source, *args, **kwargs):
    return Uncompiled(
        *source.image_size,
        source.train.num_examples,
        **STEPS,
        warmup_steps=1,
        base_learning_rate=0.01,
    )


@pytest.fixture(scope="module")
def model():
    return make_model(num_classes=0)


@pytest.fixture
def calls(monkeypatch):
    """Lists the runs that are made, not read; fine-tuning is made short."""
    made = []
    for method in (fewshot_methods.Probe, fewshot_methods.FineTuning):

        def run(self, count, seed, run=method.run):
            made.append((self.kind, count, seed))
            return run(self, count, seed)

        monkeypatch.setattr(method, "run", run)
    monkeypatch.setattr(fewshot_options, "choose_recipe", recipe_of)
    return made


def evaluate(models, out_dir, datasets=(SOURCE,), **options):
    options = {"shots": (1, 3), "seeds": 2, "progress": False, **options}
    return fewshot(models, datasets, out_dir, **options)


@pytest.fixture(scope="module")
def by_definition(model):
    """Counts the test images that ridge regression gets right, from the definition."""

    def features(split):
        images = np.array([image for image, _ in split.images()], np.float32)
        images = keras.ops.image.resize(images, (32, 32), antialias=False)
        return np.array(model.features(images / 127.5 - 1), np.float64)

    train_features, test_features = features(SOURCE.train), features(SOURCE.test)
    labels = SOURCE.train.read_labels()

    def count_right(count, seed, l2=1024.0):
        numbers = draw_balanced(labels, SOURCE.class_names, count, seed)
        x, y = train_features[numbers], labels[numbers]
        mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-5

        def inputs(rows):
            whitened = (rows - mean) / deviation
            return np.hstack([whitened, np.full((len(rows), 1), 100.0)])

        x, targets = inputs(x), np.where(y[:, None] == np.arange(3), 1.0, -1.0)
        weights = np.linalg.solve(x.T @ x + l2 * np.eye(x.shape[1]), x.T @ targets)
        predictions = (inputs(test_features) @ weights).argmax(axis=1)
        return int((predictions == SOURCE.test.read_labels()).sum())

    return count_right


@pytest.fixture
def extracted(monkeypatch):
    """Lists how many images are looked at; features are random, by the weights."""
    numbers = []

    def extract(model, source, split, *args):
        numbers.append(split.num_examples)
        seed = int(np.abs(model.backbone.weights[0]).sum() * 1e6)
        return np.random.default_rng(seed).normal(size=(split.num_examples, 5))

    monkeypatch.setattr(fewshot_methods, "extract_features", extract)
    return numbers


def test_the_probe_gets_right_what_ridge_regression_does(
    model, tmp_path, calls, by_definition
):
    report = evaluate({"tiny": model}, tmp_path, method="probe")
    rows = report["results"]
    assert [row["examples_per_class"] for row in rows] == [1, 3]
    for row in rows:
        count = row["examples_per_class"]
        right = [by_definition(count, seed) for seed in (0, 1)]
        assert row["num_correct"] == right
        assert row["median"] == pytest.approx(np.mean(right) / 12)
        assert row["chance"] == pytest.approx(1 / 3)
        assert (row["model"], row["dataset"]) == ("tiny", "arrays")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("report.json", "report.md", "report.html", "fewshot.png", "runs", "features")
    }


def test_finished_runs_and_features_are_read_not_made(
    model, tmp_path, calls, extracted
):
    first = evaluate({"a": model}, tmp_path, method="probe")
    assert len(calls) == 4
    assert len(extracted) == 2 and 9 <= extracted[0] <= 18 and extracted[1] == 12
    again = evaluate({"a": model}, tmp_path, method="probe")
    assert again["results"] == first["results"]
    assert "4 of 4 runs were finished before this call." in again["notes"]
    more = evaluate({"a": model}, tmp_path, method="probe", shots=(1, 4))
    assert more["results"][0] == first["results"][0]
    assert calls[4:] == [("probe", 4, 0), ("probe", 4, 1)]
    # Of the training images, those that are new; of the test images, none.
    assert len(extracted) == 3 and extracted[2] <= 6


def test_another_model_of_the_same_name_reads_nothing(tmp_path, calls, extracted):
    model = make_model(num_classes=0)
    first = evaluate({"a": model}, tmp_path, method="probe")
    weights = model.backbone.weights[0]
    weights.assign(weights * 2)
    changed = evaluate({"a": model}, tmp_path, method="probe")
    assert changed["results"] != first["results"]
    assert len(calls) == 8
    assert len(extracted) == len(list(tmp_path.glob("features/*.npz"))) == 4
    weights.assign(weights / 2)
    assert (
        evaluate({"a": model}, tmp_path, method="probe")["results"]
        == (first["results"])
    )
    assert len(calls) == 8


def test_several_strengths_are_several_lines(model, tmp_path, calls, by_definition):
    report = evaluate({"a": model}, tmp_path, method="probe", shots=[3], l2=[1024, 1])
    found = {row["method"]: row["num_correct"] for row in report["results"]}
    assert found == {
        name: [by_definition(3, seed, l2) for seed in (0, 1)]
        for name, l2 in {"linear probe, l2 1": 1.0, "linear probe": 1024.0}.items()
    }


def test_fine_tuning_begins_anew_for_each_subset(model):
    """What was compiled before, and trained, leaves no trace in a run."""
    before = all_weights(model)
    data = FewShotSet(SOURCE)
    tuner = FineTuner(FrozenModel("a", model), 3, progress=False)
    tuning = FineTuning(data, recipe_of, tuner)
    [right] = tuning.run(3, 1).values()
    trained = tuning.tuner.model
    first = all_weights(trained)
    images = np.array([image for image, _ in SOURCE.test.images()], np.float32)
    images = keras.ops.image.resize(images, (32, 32), antialias=False)
    predictions = np.array(trained(images / 127.5 - 1)).argmax(axis=1)
    assert right == (predictions == SOURCE.test.read_labels()).sum()
    compiled = trained.optimizer
    tuning.run(1, 0)
    # Each run is tested once, by one trace for all of them.
    assert trained.test_function is None
    assert trained.predict_function.experimental_get_tracing_count() == 1
    assert relative_l2(all_weights(trained), first) > 1e-4
    tuning.run(3, 1)
    assert trained.optimizer is compiled
    np.testing.assert_array_equal(all_weights(trained), first)
    np.testing.assert_array_equal(all_weights(model), before)


def test_one_compiled_step_serves_all_rates(model):
    """Other rates, steps and subsets compile nothing, and train as a new one does."""
    tuner = FineTuner(FrozenModel("a", model), 3, progress=False)
    first = recipe_of(SOURCE)
    longer = dataclasses.replace(
        first, steps=5, base_learning_rate=0.05, decay_steps=(3,), flip="none"
    )
    tuner.run(SOURCE, first, seed=0)
    optimizer = tuner.model.optimizer
    tuner.run(SOURCE, longer, seed=1)
    assert tuner.model.optimizer is optimizer
    expected = BiTClassifier.from_config(model.get_config())
    expected.reset_head(3)
    for ours, start in zip(
        expected.backbone.weights, model.backbone.weights, strict=True
    ):
        ours.assign(start)
    train(expected, SOURCE, longer, seed=1, progress=False)
    np.testing.assert_array_equal(all_weights(tuner.model), all_weights(expected))
    tuner.run(SOURCE, dataclasses.replace(first, crop=40, resize=48), seed=0)
    assert tuner.model.optimizer is not optimizer


def test_fine_tuning_in_parts_is_the_same(model):
    source = SOURCE
    recipe = recipe_of(source)
    whole, parts = (
        FineTuner(FrozenModel("a", model), 3, False, *memory)
        for memory in ((1, False), (2, True))
    )
    for tuner in (whole, parts):
        tuner.run(source, recipe, seed=0)
    assert parts.model.backbone.remat and not whole.model.backbone.remat
    assert parts.model.batch_split == 2
    assert relative_l2(all_weights(parts.model), all_weights(whole.model)) < 1e-5


def test_an_interrupted_job_goes_on_after_its_last_run(
    model, tmp_path, calls, monkeypatch
):
    monkeypatch.setattr(FineTuning, "run", interrupted_at(3, calls))
    options = {"method": "finetune", "shots": (1, 3)}
    with pytest.raises(Interrupted, match="go on after 2 of 4 runs"):
        evaluate({"a": model}, tmp_path, **options)
    assert not (tmp_path / "report.json").exists()
    monkeypatch.setattr(FineTuning, "run", interrupted_at(99, calls))
    report = evaluate({"a": model}, tmp_path, **options)
    assert calls == [(1, 0), (1, 1), (3, 0), (3, 0), (3, 1)]
    assert [row["num_correct"] for row in report["results"]] == [[1, 2], [3, 4]]


def interrupted_at(number, calls):
    def run(self, count, seed):
        calls.append((count, seed))
        if len(calls) == number:
            raise KeyboardInterrupt
        return {"fine-tuning": count + seed}

    return run


def test_examples_that_a_set_does_not_have_are_left_out(
    model, tmp_path, calls, extracted
):
    report = evaluate({"a": model}, tmp_path, method="probe", shots=(3, 11))
    assert [row["examples_per_class"] for row in report["results"]] == [3]
    note = "arrays has a class of 10 training images, too few for 11 per class."
    assert note in report["notes"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shots": [11]}, "Class `0` of arrays has 10 training images"),
        ({"shots": [0]}, "`shots` must be numbers of examples"),
        ({"shots": []}, "`shots` must be numbers of examples"),
        ({"seeds": 0}, "`seeds` must be at least 1. Received: 0"),
        ({"method": "all"}, "`method` must be one of"),
        ({"l2": [0.0]}, "`l2` must be positive numbers"),
        ({"shot": [1]}, "There is no option `shot`, but batch_size"),
        ({"datasets": []}, "There is no set of images"),
        ({"datasets": [SOURCE, SOURCE]}, "Each set can be given once. Received: array"),
    ],
)
def test_mistakes_are_found_before_any_work(model, tmp_path, calls, changes, message):
    with pytest.raises(InputError, match=message):
        evaluate({"a": model}, tmp_path / "new", **changes)
    for models, expected in {
        "": "no model",
        "gone.npz": "gone.npz is not there",
    }.items():
        named = {models: models} if models else {}
        with pytest.raises(InputError, match=expected):
            evaluate(named, tmp_path / "new")
    assert not calls and not (tmp_path / "new").exists()


def test_results_of_something_else_are_not_mixed_with(
    model, tmp_path, calls, extracted
):
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(InputError, match="is not empty; give another folder"):
        evaluate({"a": model}, tmp_path, method="probe")
    evaluate({"a": model}, tmp_path, method="probe", overwrite=True)
    assert json.loads((tmp_path / "report.json").read_text())["results"]
