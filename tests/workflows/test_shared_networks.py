"""Models of one architecture that take turns with one compiled network."""

import collections
import dataclasses

import keras
import numpy as np
import pytest
from small_runs import Uncompiled, all_weights, make_model, make_source

import bit_keras
from bit_keras.models.train_step import ReplicaTrainStep
from bit_keras.workflows import fewshot_options
from bit_keras.workflows.fewshot import fewshot
from bit_keras.workflows.fewshot_options import FewShotOptions
from bit_keras.workflows.fine_tuner import FineTuner, FrozenModel
from bit_keras.workflows.shared_networks import LEAST_ROOM, SharedNetworks

SOURCE = make_source(num_examples=30, num_test=12)
OPTIONS = FewShotOptions(progress=False)


def recipe_of(source, *args, **kwargs):
    return Uncompiled(
        *source.image_size,
        source.train.num_examples,
        batch_size=4,
        steps=3,
        resize=32,
        crop=32,
        warmup_steps=1,
        base_learning_rate=0.01,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of two models of one architecture, and of one of another."""
    folder = tmp_path_factory.mktemp("models")
    first, second = make_model(num_classes=0), make_model(num_classes=0)
    random = np.random.default_rng(1)
    for variable in second.backbone.weights:
        variable.assign(variable + 0.1 * random.normal(size=variable.shape))
    keras.utils.set_random_seed(2)
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 2), width=0.5)
    models = {"a": first, "b": second, "c": bit_keras.BiTClassifier(backbone, 0)}
    for name, model in models.items():
        model.save(folder / f"{name}.keras")
    return {name: str(folder / f"{name}.keras") for name in models}


@pytest.fixture
def traces(monkeypatch):
    """Counts how often a step is traced, before which nothing is compiled."""
    counts = collections.Counter()

    def count(name):
        step = getattr(ReplicaTrainStep, name)

        def counted(self, data):
            counts[name] += 1
            return step(self, data)

        monkeypatch.setattr(ReplicaTrainStep, name, counted)

    count("train_step")
    count("predict_step")
    monkeypatch.setattr(fewshot_options, "choose_recipe", recipe_of)
    return counts


def evaluate(models, out_dir, datasets=(SOURCE,)):
    report = fewshot(models, datasets, out_dir, shots=(3,), seeds=2, progress=False)
    keys = ("model", "dataset", "method")
    rows = report["results"]
    return {tuple(row[k] for k in keys): row["num_correct"] for row in rows}


def test_a_second_model_of_the_architecture_is_not_traced(files, traces, tmp_path):
    alone = evaluate({"a": files["a"]}, tmp_path / "a")
    once = dict(traces)
    assert once["train_step"] and once["predict_step"]
    traces.clear()
    alone |= evaluate({"b": files["b"]}, tmp_path / "b")
    assert traces == once
    traces.clear()
    pair = {name: files[name] for name in "ab"}
    assert evaluate(pair, tmp_path / "both") == alone
    assert traces == once


def test_sets_share_what_is_compiled_whatever_their_classes(files, traces, tmp_path):
    evaluate({"a": files["a"]}, tmp_path / "one")
    once = dict(traces)
    other = make_source(num_examples=40, num_test=12, num_classes=4)
    other = dataclasses.replace(other, name="other")
    traces.clear()
    evaluate({"a": files["a"]}, tmp_path / "two", [SOURCE, other])
    assert traces["train_step"] == once["train_step"]


def test_taking_turns_changes_no_bit(files):
    """Runs, features and identity are those of networks of their own."""
    networks = SharedNetworks(OPTIONS, count=3)
    images = np.linspace(-1, 1, 2 * 32 * 32 * 3, dtype=np.float32)
    images = images.reshape(2, 32, 32, 3)
    recipe = recipe_of(SOURCE)
    tuners = []
    for name in "abca":
        shared = networks.open(name, files[name])
        own = FrozenModel.open(name, files[name])
        assert (shared.name, shared.identity) == (name, own.identity)
        np.testing.assert_array_equal(
            shared.model.predict_on_batch(images), own.model.predict_on_batch(images)
        )
        expected = FineTuner(own, LEAST_ROOM, progress=False)
        tuners.append(networks.tuner(shared, 3))
        right = tuners[-1].run(SOURCE, recipe, seed=1)
        assert right == expected.run(SOURCE, recipe, seed=1)
        np.testing.assert_array_equal(
            all_weights(tuners[-1].model), all_weights(expected.model)
        )
    assert tuners[0] is tuners[1]
    assert len(set(map(id, tuners))) == 3


def test_models_of_the_caller_stay_as_they_are():
    """They share the fine-tuning alone."""
    models = make_model(), make_model()
    models[1].backbone.weights[0].assign(models[1].backbone.weights[0] * 2)
    before = [all_weights(model) for model in models]
    networks = SharedNetworks(OPTIONS, count=2)
    tuners = [networks.tuner(networks.open("m", model), 3) for model in models]
    assert tuners[0] is tuners[1]
    for model, weights in zip(models, before, strict=True):
        np.testing.assert_array_equal(all_weights(model), weights)


@pytest.mark.parametrize(("count", "kept"), [(1, False), (2, True)])
def test_nothing_is_kept_that_no_model_waits_for(files, count, kept):
    networks = SharedNetworks(OPTIONS, count)
    frozen = networks.open("a", files["a"])
    of_few = networks.tuner(frozen, 3)
    assert networks.tuner(frozen, 64) is of_few
    assert networks.tuner(frozen, 65).num_classes == 128
    assert (networks.tuner(frozen, 3) is of_few) == kept


def test_room_for_more_classes_changes_nothing(files):
    """Classes that a set does not have stay where they are, whatever the others do."""
    frozen = FrozenModel.open("a", files["a"])
    tuners = [FineTuner(frozen, count, progress=False) for count in (3, 64)]
    recipe = dataclasses.replace(recipe_of(SOURCE), mixup_alpha=0.3)
    own, roomy = (
        (tuner.run(SOURCE, recipe, seed=1), tuner.model.head.get_weights())
        for tuner in tuners
    )
    assert roomy[0] == own[0]
    for with_room, alone in zip(roomy[1], own[1], strict=True):
        np.testing.assert_allclose(with_room[..., :3], alone, rtol=1e-4, atol=1e-7)
        assert np.abs(alone).max() > 1e-4
    kernel, bias = roomy[1]
    assert not kernel[:, 3:].any()
    assert (bias[3:] == -1e9).all()


def test_more_classes_than_there_is_room_for_are_refused(files):
    tuner = FineTuner(FrozenModel.open("a", files["a"]), 2, progress=False)
    with pytest.raises(bit_keras.InputError, match="no room .* Received: 3 classes"):
        tuner.run(SOURCE, recipe_of(SOURCE), seed=1)
