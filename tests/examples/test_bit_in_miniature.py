"""The sets, recipes, runs and pictures of Big Transfer in miniature."""

import json
import os
import re
import tempfile

import components
import figures
import keras
import numpy as np
import pytest
import recipes
import sets
import snapshots
import tables
import tensorflow as tf
import transfer
import tuned
import upstream
from absl import flags
from PIL import Image
from small_runs import make_model, make_source

import bit_keras
from bit_keras.assets import doodles_folder
from bit_keras.checkpoints.read import read_checkpoint
from bit_keras.recipes.recipe import Recipe
from bit_keras.workflows.fine_tuner import FineTuner

NOTEBOOK = tables.FOLDER / "bit_in_miniature.ipynb"
FIGURES = tables.FOLDER / "figures"
DOODLES = {path.name for path in (doodles_folder() / "train").iterdir()}


def small_set(num_classes, size, per_class, names):
    """Returns a set like those of TFDS; every pixel is the label."""

    def part(count):
        labels = np.repeat(np.arange(num_classes), count)
        pixels = (labels % 256).astype(np.uint8)[:, None, None]
        return np.broadcast_to(pixels, (len(labels), size, size)).copy(), labels

    arrays = part(per_class), part(1)
    return bit_keras.open_source(arrays, class_names=names)


@pytest.fixture
def small_sets(monkeypatch):
    photos = ("airplane", "automobile", "bird", "cat", "deer")
    photos += ("dog", "frog", "horse", "ship", "truck")
    made = {
        "cifar10": small_set(10, 32, 3, photos),
        "quickdraw345": small_set(345, 28, 2, sets.DRAWN),
    }
    monkeypatch.setattr(sets, "_open", lambda name, data_dir, **kwargs: made[name])


@pytest.fixture
def without_xla(monkeypatch):
    compile_args = Recipe.compile_args
    monkeypatch.setattr(
        Recipe, "compile_args", lambda self: compile_args(self) | {"jit_compile": False}
    )


@pytest.fixture
def smallest(monkeypatch):
    def backbone(name, dtype=None):
        return bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5, dtype=dtype)

    monkeypatch.setattr(recipes, "new_backbone", backbone)


def values_of(module, **changes):
    values = flags.FlagValues()
    module.define_flags(values)
    values.mark_as_parsed()
    for name, value in changes.items():
        setattr(values, name, value)
    return values


def test_classes_of_doodles_are_held_out():
    held_out = sets.held_out()
    assert len(set(held_out)) == 45
    assert len(DOODLES) == 20
    assert set(held_out) >= DOODLES
    assert set(held_out) <= set(sets.DRAWN)
    others = (
        "The Eiffel Tower, beard, bridge, calculator, campfire, cloud, crayon, "
        "dresser, fan, giraffe, grass, hexagon, hospital, lion, mailbox, mug, octopus, "
        "pool, purse, river, shovel, stairs, tiger, toilet, vase"
    )
    assert sorted(set(held_out) - DOODLES) == others.split(", ")


def test_other_seeds_hold_out_other_classes():
    assert set(sets.held_out(1)) >= DOODLES
    assert sets.held_out(1) != sets.held_out()


def test_no_held_out_class_is_upstream(small_sets):
    names = sets.upstream("L").class_names
    drawn = {
        name.removeprefix("quickdraw/")
        for name in names
        if name.startswith("quickdraw/")
    }
    target = sets.target("quickdraw45")
    assert len(names) == 310
    assert len(drawn) == 300
    assert not drawn & DOODLES
    assert not drawn & set(target.class_names)
    assert drawn | set(target.class_names) == set(sets.DRAWN)


def test_joined_images_keep_their_labels(small_sets):
    source = sets.upstream("L")
    assert source.train.num_examples == 10 * 3 + 300 * 2
    assert source.test.num_examples == 310
    for split in (source.train, source.test):
        for image, label in split.images().as_numpy_iterator():
            kind, name = source.class_names[label].split("/")
            if kind == "cifar10":
                np.testing.assert_array_equal(image, np.full((32, 32, 3), label))
                continue
            expected = np.zeros((32, 32, 3))
            expected[2:30, 2:30] = sets.DRAWN.index(name) % 256
            np.testing.assert_array_equal(image, expected)


def test_held_out_drawings_keep_their_labels(small_sets):
    source = sets.target("quickdraw45")
    assert source.train.num_examples == 90
    for image, label in source.train.images().as_numpy_iterator():
        assert image.shape == (28, 28, 3)
        name = source.class_names[label]
        assert (image == sets.DRAWN.index(name) % 256).all()


def test_share_of_photos_leaves_drawings_out():
    classes = [{"count": 4, "correct": 3}] * 10 + [{"count": 4, "correct": 0}] * 300
    assert sets.cifar10_share(classes) == 0.75


def test_upstream_recipe_is_the_paper_s_staircase():
    recipe = recipes.UPSTREAM["M"].recipe(50_000)
    assert (recipe.steps, recipe.warmup_steps) == (5860, 293)
    assert recipe.base_learning_rate == pytest.approx(0.2)
    assert recipe.decay_steps == (1953, 3907, 5209)
    assert (recipe.resize, recipe.crop, recipe.cropping) == (72, 64, "random")
    assert (recipe.loss, recipe.l2, recipe.mixup_alpha) == ("softmax", 1e-4, 0.1)
    assert recipe.fit_args()["epochs"] == 10


def test_transfer_rule_keeps_the_rate():
    source = make_source()
    recipe = recipes.TransferRule(longer=5).recipe(source)
    assert (recipe.batch_size, recipe.base_learning_rate) == (128, 0.003)
    assert (recipe.steps, recipe.warmup_steps) == (2500, 500)
    assert recipe.decay_steps == (1000, 1500, 2000)


def test_upstream_goes_from_images_to_weights(
    tmp_path, monkeypatch, without_xla, smallest
):
    source = make_source(num_classes=10, num_examples=20, num_test=10)
    monkeypatch.setattr(sets, "upstream", lambda name, data_dir: source)
    monkeypatch.setattr(recipes, "RESIZE", 36)
    monkeypatch.setattr(recipes, "CROP", 32)
    values = values_of(
        upstream,
        runs=["S:R26x0.5"],
        out_dir=str(tmp_path),
        steps=2,
        batch_size=4,
        progress=False,
    )
    upstream.main(values)
    folder = tmp_path / "S-R26x0.5"
    [row] = json.loads((tmp_path / "upstream.json").read_text())
    report = json.loads((folder / "report.json").read_text())
    assert row["top1"] == row["top1_cifar10"] == report["evaluation"]["top1"]
    assert (row["set"], row["model"], row["steps"]) == ("S", "R26x0.5", 2)
    assert row["images_per_second"] == pytest.approx(8 / row["seconds"], abs=0.06)
    halves = dict(read_checkpoint(folder / "weights_float16.npz").tensors())
    for name, array in read_checkpoint(folder / "weights.npz").tensors():
        np.testing.assert_array_equal(halves[name], array.astype(np.float16))

    # What is finished is not made again.
    monkeypatch.setattr(upstream, "run", None)
    upstream.main(values)
    assert json.loads((tmp_path / "upstream.json").read_text()) == [row]


@pytest.fixture
def transferring(tmp_path, monkeypatch, without_xla, smallest):
    source = make_source(num_examples=12, num_test=9)
    monkeypatch.setattr(sets, "target", lambda name, data_dir: source)
    monkeypatch.setattr(recipes, "RESIZE", 36)
    monkeypatch.setattr(recipes, "CROP", 32)
    folder = tmp_path / "upstream" / "L-R26x0.5"
    folder.mkdir(parents=True)
    bit_keras.save_npz(make_model(num_classes=0), folder / "weights.npz")
    return values_of(
        transfer,
        models=["L-R26x0.5"],
        scratch=["R26x0.5"],
        targets=["arrays"],
        shots=["1", "4", "5"],
        full=["arrays"],
        upstream=str(folder.parent),
        out_dir=str(tmp_path / "transfer"),
        seeds=2,
        steps=1,
        full_steps=1,
        batch_size=4,
    )


@pytest.fixture
def compiled(monkeypatch):
    """The recipes for which a network was compiled, a list that grows."""
    recipes_seen = []

    def compile_for(tuner, recipe, compile_=FineTuner._compile):
        recipes_seen.append(recipe)
        compile_(tuner, recipe)

    monkeypatch.setattr(FineTuner, "_compile", compile_for)
    return recipes_seen


def test_transfer_fills_its_file_once(
    tmp_path, monkeypatch, capsys, transferring, compiled
):
    # With a result, `app.run` would say that the program failed.
    assert transfer.main(transferring) is None
    assert len(compiled) == 1
    path = tmp_path / "transfer" / "transfer.json"
    rows = json.loads(path.read_text())
    found = {(row["model"], row["method"], row["shots"]) for row in rows}
    tuned = {"L-R26x0.5", "scratch-R26x0.5", "scratch5-R26x0.5"}
    probed = {"L-R26x0.5", "scratch-R26x0.5", "pixels", "contrast"}
    # There are four images of each class, too few for five.
    expected = {(model, "finetune", n) for model in tuned for n in (1, 4, "full")}
    expected |= {(model, "probe", n) for model in probed for n in (1, 4)}
    assert found == expected
    for row in rows:
        assert len(row["accuracies"]) == (1 if row["shots"] == "full" else 2)
        assert row["median"] == np.median(row["accuracies"])
        assert row["min"] <= row["median"] <= row["max"]

    monkeypatch.setattr(FineTuner, "run", None)
    monkeypatch.setattr(transfer.Probe, "run", None)
    transfer.main(transferring)
    assert json.loads(path.read_text()) == rows

    # A call for less keeps the rest of the file.
    transferring.models = transferring.scratch = []
    capsys.readouterr()
    transfer.main(transferring)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"arrays, {name}, probe, {count} per class"
        for name in ("pixels", "contrast")
        for count in (1, 4)
    ]
    assert json.loads(path.read_text()) == rows


def labelled_set(per_class=(6, 9, 7)):
    """Returns a set whose images are told apart by their first pixel."""
    labels = np.repeat(np.arange(3), per_class)
    images = np.zeros((len(labels), 36, 36, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(labels))
    tests = np.full((3, 36, 36, 3), 255, np.uint8), np.arange(3)
    return bit_keras.open_source(((images, labels), tests))


def first_pixels(split):
    return [int(image[0, 0, 0]) for image, _ in split.images().as_numpy_iterator()]


@pytest.mark.parametrize("seed", [0, 1])
def test_search_validates_on_images_that_were_not_drawn(seed):
    source = labelled_set()
    searched = tuned.ValidationSet(source, per_class=4).subset(2, seed)
    drawn, held_back = map(first_pixels, (searched.train, searched.test))
    few = bit_keras.open_source(source, examples_per_class=2, subset_seed=seed)
    assert drawn == first_pixels(few.train)
    assert not set(drawn) & set(held_back)
    assert len(set(held_back)) == 12
    labels = source.train.read_labels()
    np.testing.assert_array_equal(np.bincount(labels[held_back]), [4, 4, 4])
    # Images and labels have stayed together.
    np.testing.assert_array_equal(searched.test.read_labels(), labels[held_back])


def test_draws_are_validated_on_images_of_their_own():
    searched = tuned.ValidationSet(labelled_set(), per_class=4)
    splits = [searched.subset(2, seed).test for seed in (0, 1, 0)]
    assert splits[0] is splits[2]
    assert first_pixels(splits[0]) != first_pixels(splits[1])


def test_identity_tells_what_is_validated_on():
    source = labelled_set()
    identities = [tuned.ValidationSet(source, count).identity for count in (3, 4)]
    assert identities[0] != identities[1]
    assert identities[0].items() > tuned.FewShotSet(source).identity.items()


def test_best_candidate_is_right_most_often():
    def candidate(rate, steps, *num_correct):
        return {"rate": rate, "steps": steps, "num_correct": num_correct}

    lower, higher = candidate(0.01, 200, 5, 6), candidate(0.03, 200, 6, 5)
    longer, worse = candidate(0.001, 500, 5, 6), candidate(0.001, 200, 5, 5)
    better = candidate(0.1, 1500, 4, 8)
    assert tuned.best([worse, longer, better, lower]) is better
    # Of equal ones that of fewer steps, then of the lower rate.
    assert tuned.best([worse, longer, higher]) is higher
    assert tuned.best([longer, higher, lower, worse]) is lower


class Stopping:
    """Takes the place of a method whose run is stopped."""

    def __init__(self, cause):
        self.cause = cause

    def run(self, examples_per_class, seed):
        raise bit_keras.RunError("no number") from self.cause


def test_rate_that_is_too_high_is_a_result():
    run = tuned._count_right(Stopping(None), 1, 0)
    assert run == {"num_correct": 0, "failed": "no number"}
    with pytest.raises(bit_keras.RunError, match="no number"):
        tuned._count_right(Stopping(MemoryError()), 1, 0)


@pytest.fixture
def tuning(tmp_path, monkeypatch, without_xla):
    source = make_source(num_examples=12, num_test=9)
    monkeypatch.setattr(sets, "target", lambda name, data_dir: source)
    monkeypatch.setattr(recipes, "RESIZE", 36)
    monkeypatch.setattr(recipes, "CROP", 32)
    bit_keras.save_npz(make_model(num_classes=0), tmp_path / "weights.npz")
    return values_of(
        tuned,
        weights=str(tmp_path / "weights.npz"),
        targets=["arrays"],
        rates=["0.003", "0.01"],
        steps=["1", "2"],
        shots=1,
        seeds=3,
        batch_size=4,
        rule_steps=1,
        out_dir=str(tmp_path / "tuned"),
    )


@pytest.fixture
def fine_tuned(monkeypatch):
    """The (rate, steps, seed, what it is tested on) of all runs, none of them made.

    Half of the images are right, and all of them at the rate 0.01.
    """
    found = []

    def run(tuner, source, recipe, seed):
        found.append((recipe.base_learning_rate, recipe.steps, seed, source.test))
        is_best = recipe.base_learning_rate == 0.01
        return source.test.num_examples // (1 if is_best else 2)

    monkeypatch.setattr(FineTuner, "run", run)
    return found


def read_row(values):
    path = os.path.join(values.out_dir, "tuned.json")
    with open(path, encoding="utf-8") as file:
        [row] = json.load(file)
    return row


def test_search_chooses_what_is_then_tested(tuning, fine_tuned):
    tuned.main(tuning)
    row = read_row(tuning)
    pairs = [(rate, steps) for rate in (0.003, 0.01) for steps in (1, 2)]
    search = [(*pair, seed) for seed in (0, 1) for pair in pairs]
    tests = [(rate, 1, seed) for rate in (0.003, 0.01) for seed in (0, 1, 2)]
    assert [run[:3] for run in fine_tuned] == [*search, *tests]
    *_, splits = zip(*fine_tuned, strict=True)
    test = sets.target("arrays", None).test
    assert [split is test for split in splits] == [False] * 8 + [True] * 6
    for split in splits[:8]:
        # Three of the four images of each class are left.
        np.testing.assert_array_equal(np.bincount(split.read_labels()), [3, 3, 3])
    figures = {
        (each["rate"], each["steps"]): (each["num_correct"], each["mean"])
        for each in row["candidates"]
    }
    assert figures == {
        (0.003, 1): ([4, 4], 4 / 9),
        (0.003, 2): ([4, 4], 4 / 9),
        (0.01, 1): ([9, 9], 1),
        (0.01, 2): ([9, 9], 1),
    }
    for each in row["candidates"]:
        assert each["num_validation"] == 9 and "num_test" not in each
    assert row["rule"]["accuracies"] == [4 / 9] * 3
    assert row["winner"]["accuracies"] == [1] * 3
    assert (row["rule"]["median"], row["winner"]["median"]) == (4 / 9, 1)
    assert row["rule"]["recipe"]["base_learning_rate"] == 0.003
    assert row["winner"]["recipe"]["base_learning_rate"] == 0.01
    assert row["winner"]["recipe"]["batch_size"] == 4
    assert row["search"]["runs"] == 8
    assert row["search"]["validation_images_per_class"] == 3
    [environment] = row["environments"]
    assert environment["tensorflow"] == tf.__version__


def test_rule_that_wins_is_not_tested_twice(tuning, fine_tuned):
    tuning.rates = ["0.003"]
    tuned.main(tuning)
    assert len(fine_tuned) == 4 + 3
    row = read_row(tuning)
    assert row["rule"] == row["winner"]


def test_rule_is_as_published_by_default(tuning):
    values = values_of(tuned, shots=1)
    source = sets.target("arrays", None)
    job = tuned.Comparison(values, None, None, source)
    recipe = job._rule(tuned.RULE_RATE, values.rule_steps).recipe(source)
    published = bit_keras.HyperRule(36, 36, 12)
    assert recipe == published.scaled(resize=36, crop=32)
    assert (recipe.batch_size, recipe.steps, recipe.mixup_alpha) == (512, 500, 0)


def test_search_needs_images_to_validate_on(tuning):
    tuning.shots = 4
    with pytest.raises(bit_keras.InputError, match="4 training images .* Received: 4"):
        tuned.main(tuning)


def test_search_compiles_once_and_goes_on(monkeypatch, tuning, compiled):
    assert tuned.main(tuning) is None
    assert len(compiled) == 1
    row = read_row(tuning)
    assert len(row["candidates"]) == 4
    assert not any(each["failed"] for each in row["candidates"])
    assert len(row["winner"]["accuracies"]) == 3

    monkeypatch.setattr(FineTuner, "run", None)
    tuned.main(tuning)
    assert read_row(tuning) == row


def test_pixels_are_features():
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    features = transfer.WithoutNetwork("pixels").model.predict_on_batch(images)
    np.testing.assert_array_equal(features, images.reshape(2, -1))


def test_contrast_is_how_much_each_channel_varies():
    noise = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    noise = (noise - noise.mean((1, 2), keepdims=True)) / noise.std(
        (1, 2), keepdims=True
    )
    contrasts = np.array([[0.5, 0.25, 0.125], [1, 2, 3]])
    images = (noise * contrasts[:, None, None] + 7).astype(np.float32)
    features = transfer.WithoutNetwork("contrast").model.predict_on_batch(images)
    np.testing.assert_allclose(features, contrasts, rtol=1e-4)


def test_longer_training_has_five_times_the_steps(transferring):
    longer = {c.name: c.longer for c in transfer.contenders(transferring)}
    assert longer == {
        "L-R26x0.5": 1,
        "scratch-R26x0.5": 1,
        "scratch5-R26x0.5": 5,
        "pixels": 0,
        "contrast": 0,
    }


def test_shifted_set_learns_from_the_other_one(monkeypatch):
    emoji, twitter = make_source(), make_source(num_test=5)

    def open_set(name, data_dir, **kwargs):
        if name == "emoji9":
            return emoji
        assert kwargs == {"train_split": "test", "test_split": "test"}
        return twitter

    monkeypatch.setattr(sets, "_open", open_set)
    source = sets.target("emoji9_twitter")
    np.testing.assert_array_equal(source.train.read_labels(), emoji.train.read_labels())
    np.testing.assert_array_equal(source.test.read_labels(), twitter.test.read_labels())
    images, expected = (
        np.array([image for image, _ in split.images()])
        for split in (source.test, twitter.test)
    )
    np.testing.assert_array_equal(images, expected)


def test_snapshots_hold_features_and_mistakes(tmp_path, without_xla):
    source, model = make_source(num_test=9), make_model(num_classes=0)
    rule = bit_keras.HyperRule(36, 36, 20).scaled(batch_size=4, steps=2)
    recipe = rule.scaled(resize=36, crop=32)
    evaluation = snapshots.snap(model, source, recipe, tmp_path)
    with np.load(tmp_path / "features.npz") as archive:
        images = np.array([image for image, _ in source.test.images()], np.float32)
        images = tf.image.resize(images, (32, 32)) / 127.5 - 1
        expected = keras.ops.convert_to_numpy(model.features(images))
        np.testing.assert_allclose(archive["before"], expected, rtol=1e-3, atol=1e-4)
        assert np.abs(archive["after"] - archive["before"]).max() > 0
        np.testing.assert_array_equal(archive["labels"], source.test.read_labels())
    with np.load(tmp_path / "mistakes.npz") as archive:
        assert (archive["true"] != archive["predicted"]).all()
        assert len(archive["true"]) == 9 - evaluation.num_correct
        assert (np.diff(archive["confidences"]) <= 0).all()


def row(model, target, shots, median, method="finetune"):
    spread = {"min": median - 0.05, "max": median + 0.05, "chance": 0.1}
    subject = {"model": model, "target": target, "method": method, "shots": shots}
    return {**subject, "median": median, **spread}


def test_mean_is_of_the_same_targets_everywhere():
    rows = [row("a", "x", 1, 0.2), row("b", "x", 1, 0.4), row("a", "x", 5, 0.3)]
    rows += [row("b", "x", 5, 0.5), row("a", "y", 1, 0.4), row("b", "y", 1, 0.8)]
    rows += [row("a", "y", 5, 0.5), row("b", "y", 5, 0.9)]
    # Without five examples, of one model, and a shifted set.
    rows += [row("a", "few", 1, 0.9), row("b", "few", 1, 0.9)]
    rows += [row("a", "emoji9_twitter", n, 0.9) for n in (1, 5)]
    means = figures.mean_rows(rows)
    assert {mean["target"] for mean in means} == {"mean of 2 sets"}
    medians = {(mean["model"], mean["shots"]): mean["median"] for mean in means}
    expected = {("a", 1): 0.3, ("a", 5): 0.4, ("b", 1): 0.6, ("b", 5): 0.7}
    assert medians == pytest.approx(expected)


def test_select_leaves_out_other_methods_and_numbers_of_examples():
    chosen = row("L-R50x1", "x", 1, 0.5)
    pixels = row("pixels", "x", 1, 0.5, "probe")
    others = [row("L-R50x1", "x", 1, 0.5, "probe"), row("L-R50x1", "x", "full", 0.9)]
    others.append(row("L-R50x1", "x", 25, 0.9))
    rows = [chosen, pixels, *others]
    assert figures.select(rows, "finetune", (1, 5)) == [chosen, pixels]


def test_models_with_missing_rows_are_left_out_and_told(capsys):
    whole = [row("a", name, shots, 0.5) for name in "xy" for shots in (1, 5)]
    # A set without five examples, of all models.
    whole.append(row("a", "few", 1, 0.5))
    same = [{**each, "model": "b"} for each in whole]
    others = [row("c", "x", 1, 0.9), row("not asked for", "z", 1, 0.9)]
    assert figures.complete([*whole, *same, *others], "abc") == [*whole, *same]
    assert capsys.readouterr().out == "c is left out: 4 of its rows are missing.\n"
    assert figures.complete([], "abc") == []


def test_variance_is_between_classes_or_within_them():
    labels = np.array([0, 0, 3, 3])
    apart = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    assert figures.between_classes(apart, labels) == pytest.approx(1)
    assert figures.between_classes(apart, np.array([0, 3, 0, 3])) == pytest.approx(0)
    wide = apart + np.array([[0.5, 0], [-0.5, 0], [0.5, 0], [-0.5, 0]])
    assert figures.between_classes(wide, labels) == pytest.approx(5 / 6)


def test_principal_components_of_a_line():
    along = np.array([-1.0, 0.0, 3.0])
    plane = figures.principal_components(along[:, None] * [[0.6, 0.8]])
    np.testing.assert_allclose(plane[:, 0], along - along.mean(), atol=1e-12)
    np.testing.assert_allclose(plane[:, 1], 0, atol=1e-12)


def test_all_pictures_are_drawn(tmp_path):
    models = ("S-R50x1", "L-R50x1", "L-R26x0.5", "scratch-R50x1")
    rows = [
        row(model, target, shots, 0.1 * number + 0.01 * shots)
        for number, model in enumerate(models, start=1)
        for target in ("mnist", "quickdraw45", "emoji9_twitter")
        for shots in (1, 5, 25)
    ]
    rows += [{**each, "model": "pixels", "method": "probe"} for each in rows[:9]]
    results = {"variant": "GN", "upstream_top1": 0.9, "transfer_mean": 0.5}
    parts = [{**results, "batch_size": 128}]
    parts += [{"variant": "BN", "batch_size": 8, "failed": "The loss is no number."}]
    random = np.random.default_rng(0)
    features = random.normal(size=(2, 40, 8))
    labels = np.arange(40) % 8
    np.savez(
        tmp_path / "features.npz",
        before=features[0],
        after=features[1],
        labels=labels,
        class_names=[f"class {n}" for n in range(8)],
    )
    np.savez(
        tmp_path / "mistakes.npz",
        images=np.zeros((5, 64, 64, 3), np.uint8),
        true=["cat"] * 5,
        predicted=["dog"] * 5,
        confidences=np.full(5, 0.9),
    )
    for name, content in (("transfer", rows), ("components", parts)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    values = values_of(
        figures,
        transfer=[str(tmp_path / "transfer.json")],
        components=str(tmp_path / "components.json"),
        snapshots=str(tmp_path),
        out_dir=str(tmp_path / "pictures"),
    )
    figures.main(values)
    drawn = {path.name: path for path in (tmp_path / "pictures").iterdir()}
    names = {"finetune", "finetune-sizes", "readme"}
    names |= {"components", "features", "mistakes"}
    assert drawn.keys() == {f"{name}.png" for name in names}
    for path in drawn.values():
        assert path.stat().st_size < 200_000
        with Image.open(path) as picture:
            # Narrow enough for a phone, or a front page, and not empty.
            assert picture.width < (1000 if path.stem == "readme" else 800)
            assert len(picture.convert("L").getcolors()) > 10


def test_page_has_the_tables_of_the_results():
    """`tables.py` writes them anew."""
    text = tables.PAGE.read_text(encoding="utf-8")
    assert tables.renewed(text) == text
    assert text.count("<!-- tables.py: ") == text.count("<!-- end -->") == 7
    # Spot checks: a median, the means of eight sets, and a figure of the paper.
    assert "| 43.0, 65.2, 69.1, 71.4 |" in text
    assert (
        "| mean of 8 | 38.1, 50.5, –, – | 39.4, 51.0, –, – | 45.4, 60.5, –, – |" in text
    )
    assert "| BiT-S | 81.30 | 97.51 | 86.21 | 93.97 | 89.89 | 66.87 |" in text


def test_table_shows_what_the_rule_gives_away():
    row = {
        "target": "mnist",
        "shots": 25,
        "rule": {"accuracies": [0.5, 0.6, 0.7]},
        "winner": {
            "accuracies": [0.52, 0.59, 0.74],
            "recipe": {"base_learning_rate": 0.01, "steps": 1500},
        },
        "search": {"runs": 30, "seconds": 1234.5},
    }
    *_, line = tables.tuned_table([row]).splitlines()
    assert line == (
        "| `mnist`, 25 per class | 60.0 (50.0 to 70.0) | 59.0 (52.0 to 74.0) | "
        "+2.0 (-1.0 to +4.0) | 0.01, 1,500 | 30 runs, 1,234 s |"
    )


def test_table_of_components_has_what_was_run():
    recipe = {"steps": 1000, "batch_size": 128, "num_examples": 50_000}
    setting = {"batch_size": 128, "recipe": recipe}
    rows = [
        {"variant": "BN", **setting, "upstream_top1": 0.5, "transfer_mean": 0.25},
        {"variant": "GN+WS", **setting, "failed": "The loss became NaN."},
    ]
    *_, upstream, transfer = tables.components_table(rows).splitlines()
    assert upstream == (
        "| 128 | 3 | CIFAR-10, trained on it | 50.0 | not run | not run | diverged |"
    )
    assert transfer == (
        "| 128 | 3 | mean after transfer | 25.0 | not run | not run | diverged |"
    )


def test_table_of_large_batches_has_settings_and_the_best_last():
    def row(rate, **others):
        recipe = components.upstream_recipe(50_000, 4096, 30, 64, rate=rate).to_dict()
        recipe["clip_norm"] = 0.5 if rate == 0.1 else 0.0
        return {"variant": "GN", "batch_size": 4096, "recipe": recipe, **others}

    rows = [
        row(0.1, upstream_top1=0.75, transfer_mean=None),
        row(0.2, upstream_top1=0.5, transfer_mean=0.25),
        row(0.3, failed="The loss became NaN."),
        {**row(0.1, upstream_top1=0.25, transfer_mean=0.5), "variant": "BN"},
        {"batch_size": 128},
    ]
    assert tables.large_batches_table(rows).splitlines()[2:] == [
        "| BN | 1.6 | 366 | 30 | 73 | 0.5 | 25.0 | 50.0 |",
        "| GN | 4.8 | 366 | 30 | 73 | – | diverged | diverged |",
        "| GN | 3.2 | 366 | 30 | 73 | – | 50.0 | 25.0 |",
        "| GN | 1.6 | 366 | 30 | 73 | 0.5 | 75.0 | – |",
    ]


def test_page_has_its_pictures():
    text = tables.PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"\]\((figures/[\w.-]+)\)", text)
    assert {f"figures/{name}" for name in os.listdir(FIGURES)} == set(shown)
    for name in shown:
        assert (tables.FOLDER / name).stat().st_size < 100_000


def test_notebook_runs_as_it_stands(tmp_path, monkeypatch, without_xla):
    """As a plain program, with fewer steps for the time."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    program = "\n".join("".join(cell["source"]) for cell in cells)
    program, changed = re.subn(r"^(STEPS\w*) = \d+$", r"\1 = 1", program, flags=re.M)
    program, fewer = re.subn(r"^SHOTS = .*$", "SHOTS = (1,)", program, flags=re.M)
    assert (changed, fewer) == (2, 1)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = {}
    exec(program, names)
    assert [row["model"] for row in names["results"]] == [
        "bundled weights",
        "random weights",
    ]
    assert names["results"][0]["median"] > names["results"][1]["median"]
    assert names["evaluation"].num_examples == 400
    drawn = {path.stem for path in names["folder"].glob("*.png")}
    assert drawn == {"before", "accuracy", "features", "mistakes"}


def test_notebook_keeps_its_pictures_and_no_noise():
    assert NOTEBOOK.stat().st_size < 1_000_000
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", ()) for output in outputs) == 4
    for output in outputs:
        assert output.get("name", "stdout") == "stdout"
        assert output["output_type"] != "error"
