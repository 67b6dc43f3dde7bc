import keras
import numpy as np
import pytest
import tensorflow as tf

import bit_keras
from bit_keras.errors import RunError
from bit_keras.training.finetune import train


def make_model(num_classes=2):
    keras.utils.set_random_seed(0)
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
    return bit_keras.BiTClassifier(backbone, num_classes)


def make_recipe(**changes):
    return bit_keras.HyperRule(32, 32, 100).scaled(
        **{"batch_size": 4, "steps": 10, "resize": 32, "crop": 32} | changes
    )


def make_batches(value=1.0):
    """Bright images of one class and dark ones of the other."""
    labels = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    pattern = np.random.default_rng(0).normal(size=(32, 32, 3))
    images = np.float32([pattern, -pattern, pattern, -pattern]) * np.float32(value)
    return tf.data.Dataset.from_tensors((images, labels))


def test_trains_all_steps_at_the_rates_of_the_recipe(capsys):
    model, recipe = make_model(), make_recipe()
    history = train(model, make_batches().repeat(), make_batches(), recipe)
    assert int(model.optimizer.iterations) == 10
    assert history["step"] == list(range(1, 11))
    # By hand: 0.003 for 512 images, 2 of 10 steps of warm-up, decays at 4, 6 and 8.
    rate = 0.003 * 4 / 512
    factors = [0, 0.5, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.001]
    np.testing.assert_allclose(
        history["learning_rate"], rate * np.array(factors), rtol=1e-6
    )
    lengths = {name: len(values) for name, values in history.items()}
    names = ["step", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy"]
    assert lengths == dict.fromkeys(names, 10)
    assert history["loss"][-1] < history["loss"][0]
    progress = capsys.readouterr().err
    assert "fine-tuning: 100%" in progress
    assert "40.0/40.0" in progress and "images/s" in progress


def test_evaluation_never_sees_more_images_than_training():
    """Ten epochs of 4 images, and a test set of 4 that counts as if it had 10."""
    model, recipe = make_model(), make_recipe()
    history = train(
        model,
        make_batches().repeat(),
        make_batches(),
        recipe,
        num_test_examples=10,
        progress=False,
    )
    measured = [value is not None for value in history["val_loss"]]
    assert measured == [False, False, True] * 3 + [False]
    last, _ = model.evaluate(make_batches(), verbose=0)
    assert last == pytest.approx(history["val_loss"][8], rel=1e-2)
    assert all(loss is not None for loss in history["loss"])


def test_is_the_plain_fit_of_keras():
    recipe = make_recipe(steps=5)
    by_hand = make_model()
    by_hand.compile(
        keras.optimizers.SGD(recipe.learning_rate, momentum=0.9),
        keras.losses.CategoricalCrossentropy(from_logits=True),
    )
    by_hand.fit(make_batches().repeat(), steps_per_epoch=5, verbose=0, shuffle=False)
    model = make_model()
    train(model, make_batches().repeat(), None, recipe, progress=False)
    for actual, expected in zip(model.weights, by_hand.weights, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_no_number_stops_at_its_step():
    batches = make_batches().concatenate(make_batches(np.nan)).repeat()
    with pytest.raises(RunError, match="The loss became nan at step 2"):
        train(make_model(), batches, None, make_recipe(), progress=False)
