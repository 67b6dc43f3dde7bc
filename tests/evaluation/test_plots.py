import string

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot
from matplotlib.colors import to_hex

from bit_keras.errors import InputError
from bit_keras.evaluation import (
    canvas,
    confusion_matrix,
    learning_curve,
    plots,
    prediction_sheet,
)

HISTORY = {
    "step": [100, 200, 300],
    "loss": [2.0, 1.0, 0.5],
    "val_loss": [None, 1.2, float("nan")],
    "accuracy": [0.2, 0.6, 0.9],
    "val_accuracy": [0.1, 0.5, 0.8],
    "learning_rate": [0.003, 0.003, 0.0003],
}


@pytest.fixture
def drawn(monkeypatch):
    """Returns a list that takes the figures instead of files."""
    figures = []
    monkeypatch.setattr(canvas, "save", lambda figure, path: figures.append(figure))
    return figures


def texts(axes):
    """Returns the texts in some axes, the tick labels not among them."""
    return [text.get_text() for text in axes.texts]


def lines(axes):
    """Returns the points of all lines in some axes, by colour."""
    return {line.get_color(): line.get_xydata().tolist() for line in axes.lines}


def test_learning_curve_draws_all_values(drawn):
    learning_curve(HISTORY, "unused.png")
    loss, accuracy, rate = drawn[0].axes
    assert lines(loss) == {
        canvas.GREY: [[100, 2.0], [200, 1.0], [300, 0.5]],
        canvas.BLUE: [[200, 1.2]],
    }
    assert lines(accuracy) == {
        canvas.GREY: [[100, 0.2], [200, 0.6], [300, 0.9]],
        canvas.BLUE: [[100, 0.1], [200, 0.5], [300, 0.8]],
    }
    assert lines(rate) == {canvas.GREY: [[100, 0.003], [200, 0.003], [300, 0.0003]]}
    assert texts(loss)[:2] == ["training 0.500", "validation 1.200"]
    assert texts(accuracy) == ["validation 80.0 %", "training 90.0 %"]
    assert "300 steps of training" in texts(loss)
    titles = [axes.get_title(loc="left") for axes in drawn[0].axes]
    assert titles == ["Loss", "Accuracy", "Learning rate"]


def test_one_epoch_is_shown_as_points_on_full_scales(drawn):
    learning_curve({"loss": [1.2], "val_accuracy": [0.65]}, "unused.png")
    loss, accuracy = drawn[0].axes
    assert lines(loss) == {canvas.GREY: [[1, 1.2]]}
    assert loss.lines[0].get_marker() == "o"
    assert loss.get_ylim()[0] == 0
    assert accuracy.get_ylim() == (0, 1)
    assert "1 epoch of training" in texts(loss)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_close_labels_are_moved_apart_about_their_middle(heights):
    low, high = sorted(heights)
    moved = plots._apart([low, high], 0.1)
    assert moved[1] - moved[0] == pytest.approx(max(0.1, high - low))
    assert sum(moved) == pytest.approx(low + high)


@pytest.mark.parametrize(
    "history",
    [{}, {"loss": []}, {"step": [1, 2]}, {"loss": [1.0, 2.0], "accuracy": [0.5]}],
)
def test_unusable_histories_are_an_input_error(history, tmp_path):
    with pytest.raises(InputError, match="expected lists of one length"):
        learning_curve(history, tmp_path / "curve.png")
    assert list(tmp_path.iterdir()) == []


def test_confusion_matrix_shows_counts_names_and_class_accuracies(drawn, fruit):
    confusion_matrix(fruit, "unused.png")
    (axes,) = drawn[0].axes
    names = ["apple", "pear", "plum", "quince"]
    assert [label.get_text() for label in axes.get_xticklabels()] == names
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    cells = {
        text.get_position(): text.get_text()
        for text in axes.texts
        if text.get_text().isdigit()
    }
    # Positions are (predicted, true).
    assert cells == {(0, 0): "2", (1, 0): "1", (0, 1): "2", (1, 1): "1", (2, 2): "2"}
    assert [t for t in texts(axes) if t.endswith("%") and len(t) < 6] == [
        "67 %",
        "33 %",
        "100 %",
    ]
    assert "5 of 8 images right, 62.5 %" in texts(axes)


def test_confusion_matrix_colours_the_shares_of_the_row(drawn, fruit):
    confusion_matrix(fruit, "unused.png")
    colours = drawn[0].axes[0].images[0].get_array()
    assert to_hex(colours[2, 2]) == canvas.BLUE.lower()
    white = np.full(3, 0.97)
    np.testing.assert_allclose(colours[3], [white] * 4)
    orange = np.array(matplotlib.colors.to_rgb(canvas.VERMILION))
    strength = np.sqrt(2 / 3)
    np.testing.assert_allclose(colours[1, 0], white + strength * (orange - white))


@pytest.mark.parametrize(
    ("num_classes", "named"), [(21, True), (40, True), (41, False)]
)
def test_many_classes_have_a_key_instead_of_counts(drawn, evaluate, num_classes, named):
    logits = np.eye(num_classes)
    confusion_matrix(evaluate(logits, range(num_classes)), "unused.png")
    matrix, right, wrong = drawn[0].axes
    assert not any(text.isdigit() for text in texts(matrix))
    ticks = [label.get_text() for label in matrix.get_yticklabels()]
    assert (ticks == list(map(str, range(num_classes)))) == named
    assert texts(right) == ["right"]
    assert texts(wrong)[0] == "wrong"


def test_too_many_classes_are_an_input_error(evaluate):
    evaluation = evaluate(np.zeros((1, 1001)), [0])
    with pytest.raises(InputError, match="evaluation of 1001 classes"):
        confusion_matrix(evaluation, "unused.png")


def test_prediction_sheet_marks_right_and_wrong_not_by_colour_alone(drawn):
    images = np.linspace(-1, 1, 7).reshape(7, 1, 1, 1) * np.ones((7, 4, 8, 3))
    names = ["cat", "dog"]
    labels, predictions = [0, 1, 0, 1, 0, 1, 0], [0, 0, 0, 1, 1, 1, 0]
    confidences = [0.971, 0.64, 1, 0.5, 0.8, 0.9, 0.7]
    prediction_sheet(images, labels, predictions, confidences, names, "unused.png")
    axes = drawn[0].axes
    assert len(axes) == 7
    assert texts(axes[0])[:2] == ["✓ cat", "97 %"]
    assert texts(axes[1]) == ["✗ cat", "64 %", "is dog"]
    assert texts(axes[4]) == ["✗ dog", "80 %", "is cat"]
    assert "a selection: 2 wrong, 5 right" in texts(axes[0])
    assert (
        axes[0].spines["left"].get_linewidth() < axes[1].spines["left"].get_linewidth()
    )
    assert (
        axes[0].spines["left"].get_edgecolor() != axes[1].spines["left"].get_edgecolor()
    )
    for i, cell in enumerate(axes):
        np.testing.assert_allclose(cell.images[0].get_array(), i / 6, atol=1e-12)
        _, _, width, height = cell.get_window_extent().bounds
        assert height / width == pytest.approx(0.5)
    # The seventh starts a second row, right below the first one.
    first, last = axes[0].get_position(), axes[6].get_position()
    assert (first.x0, first.y0 > last.y1) == (last.x0, True)


@given(st.text(string.printable + "äß…", max_size=60), st.floats(0.3, 2))
@settings(max_examples=60, deadline=None)
def test_texts_are_cut_to_the_width(text, inches):
    one_line = " ".join(text.split())
    fitted = canvas.fit(text, inches)
    assert canvas.text_width(fitted) <= inches
    if canvas.text_width(one_line) <= inches:
        assert fitted == one_line
    else:
        assert fitted.endswith("…") and one_line.startswith(fitted[:-1])


def test_files_are_whole_and_the_callers_settings_stay(tmp_path, evaluate):
    names = ["a long name of a class " * 4, "$x_$", "_", "<b>|"]
    evaluation = evaluate(np.eye(4), [0, 1, 2, 0], names)
    images = np.zeros((4, 8, 8, 3))
    with matplotlib.rc_context({"font.size": 31, "axes.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        learning_curve(HISTORY, tmp_path / "curve.png")
        confusion_matrix(evaluation, tmp_path / "matrix.png")
        prediction_sheet(
            images,
            evaluation.labels,
            evaluation.predictions,
            evaluation.confidences,
            names,
            tmp_path / "sheet.png",
        )
        assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(files) == ["curve.png", "matrix.png", "sheet.png"]
    for content in files.values():
        assert content.startswith(b"\x89PNG") and content.endswith(b"IEND\xaeB`\x82")
        # 150 dots an inch are 5906 a metre.
        assert content[content.index(b"pHYs") + 4 :][:4] == (5906).to_bytes(4)
