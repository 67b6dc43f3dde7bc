import dataclasses

import keras
import numpy as np
import pytest
from parity.make_checkpoint import make_checkpoint

import bit_keras
from bit_keras.checkpoints.names import Architecture
from bit_keras.errors import InputError
from bit_keras.models import classifier
from bit_keras.models.presets import PRESETS


def test_ilsvrc_2012_by_the_number_of_classes():
    logits = np.zeros((2, 1000), np.float32)
    logits[0, [281, 517]] = [3, 2]
    logits[1, 0] = 1
    first, second = bit_keras.decode_predictions(logits, top=3)
    total = 998 + np.exp(3) + np.exp(2)
    # Of the equal ones the first is told.
    assert [entry[:2] for entry in first] == [
        ("n02123045", "tabby"),
        ("n03126707", "crane (n03126707)"),
        ("n01440764", "tench"),
    ]
    shares = [entry[2] for entry in first]
    np.testing.assert_allclose(shares, np.exp([3, 2, 0]) / total, rtol=1e-12)
    assert second[0] == ("n01440764", "tench", pytest.approx(np.e / (999 + np.e)))


def test_imagenet_21k_by_the_number_of_classes():
    probabilities = np.zeros((1, 21843))
    probabilities[0, [9205, 0]] = [0.75, 0.5]  # Sigmoids, which need not add up.
    [decoded] = bit_keras.decode_predictions(probabilities, 2, from_logits=False)
    assert decoded == [
        ("n03931044", "picture", 0.75),
        ("n00004475", "organism", 0.5),
    ]


def test_names_that_are_given():
    logits = np.log([[0.2, 0.5, 0.3]])
    [decoded] = bit_keras.decode_predictions(logits, class_names=["a", "b", "c"])
    assert [entry[:2] for entry in decoded] == [(1, "b"), (2, "c"), (0, "a")]
    np.testing.assert_allclose([e[2] for e in decoded], [0.5, 0.3, 0.2])
    [unnamed] = bit_keras.decode_predictions(logits, top=1)
    assert unnamed[0][:2] == (1, "class 1")
    mine = [f"mine {i}" for i in range(1000)]
    [decoded] = bit_keras.decode_predictions(np.eye(1, 1000, 7), 1, class_names=mine)
    assert decoded[0][:2] == (7, "mine 7")
    names = PRESETS["bit_s_r50x1"].class_names
    for either in (names, list(names), "imagenet2012"):
        [decoded] = bit_keras.decode_predictions(np.eye(1, 1000), 1, either)
        assert decoded[0][:2] == ("n01440764", "tench")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predictions": np.zeros(3)}, r"matrix.*Received: shape \(3,\)"),
        ({"predictions": np.zeros((1, 0))}, r"matrix.*Received: shape \(1, 0\)"),
        ({"predictions": np.full((1, 3), np.nan)}, "finite"),
        ({"predictions": np.zeros((1, 3)), "top": 0}, "`top`.*Received: 0"),
        (
            {"predictions": np.zeros((1, 3)), "class_names": ["a"]},
            "each of 3 classes. Received: 1",
        ),
        (
            {"predictions": np.zeros((1, 3)), "class_names": "imagenet2012"},
            "each of 3 classes. Received: 1000",
        ),
        (
            {"predictions": np.zeros((1, 3)), "class_names": "imagenet"},
            "one of imagenet2012, imagenet21k, cifar10_quickdraw300. Received: 'ima",
        ),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(InputError, match=message):
        bit_keras.decode_predictions(**arguments)


def test_presets_name_their_classes_where_they_are_known():
    known = {
        name: len(preset.class_names)
        for name, preset in PRESETS.items()
        if preset.class_names
    }
    assert known.pop("bit_t_r26x05") == 310
    assert len(known) == 6 + 6 + 6 + 4  # S, M, M fine-tuned, distilled.
    for name, count in known.items():
        assert count == PRESETS[name].architecture.num_classes
        is_21k = name.startswith("bit_m") and not name.endswith("ilsvrc2012")
        assert count == (21843 if is_21k else 1000)
    assert all("_flowers" not in name and "_vtab_" not in name for name in known)


@pytest.fixture
def tiny_preset(monkeypatch, tmp_path):
    """BiT-S as a tiny network, and the path of its weights."""
    preset = dataclasses.replace(
        PRESETS["bit_s_r50x1"], architecture=Architecture((1, 1, 1, 1), 1, 1000)
    )
    monkeypatch.setattr(classifier, "get_preset", lambda name: preset)
    path = tmp_path / "weights.npz"
    np.savez(path, **make_checkpoint((1, 1, 1, 1), 1, 1000, seed=0))
    return path


def test_a_preset_with_its_own_head_knows_its_classes(tiny_preset, tmp_path):
    model = bit_keras.BiTClassifier.from_preset("bit_s_r50x1", weights=tiny_preset)
    assert model.class_names[281] == "tabby"
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (
        loaded.class_names
        == model.class_names
        == list(PRESETS["bit_s_r50x1"].class_names)
    )
    model.reset_head(1000)
    assert model.class_names is None
    mine = list(map(str, range(1000)))
    given = bit_keras.BiTClassifier.from_preset(
        "bit_s_r50x1", weights=tiny_preset, class_names=mine
    )
    assert given.class_names == mine


def test_no_names_for_what_the_weights_do_not_tell(tiny_preset):
    for arguments in ({"weights": None}, {"weights": None, "num_classes": 1000}):
        model = bit_keras.BiTClassifier.from_preset("bit_s_r50x1", **arguments)
        assert model.class_names is None
    model = bit_keras.BiTClassifier.from_preset(
        "bit_s_r50x1", weights=tiny_preset, num_classes=7
    )
    assert model.class_names is None
    assert bit_keras.BiTClassifier.from_checkpoint(tiny_preset).class_names is None
