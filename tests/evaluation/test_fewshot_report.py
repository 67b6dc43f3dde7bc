import json

import numpy as np
import pytest

from bit_keras.evaluation import canvas
from bit_keras.evaluation.fewshot_plot import accuracy_by_examples
from bit_keras.evaluation.fewshot_report import summarize, write_fewshot_report


def figures(right, model="A", dataset="set", method="probe", count=1, **more):
    subject = {"model": model, "dataset": dataset, "method": method}
    more = {"setting": "as it is", "chance": 0.1, **more}
    return summarize(right, 50, **subject, examples_per_class=count, **more)


ROWS = [
    figures([5, 9, 7]),
    figures([20, 10, 15], count=5),
    figures([25, 30, 35], model="B", count=5, setting="otherwise"),
    figures([10, 20, 40], dataset="b|set", method="fine-tuning", chance=0.5),
]


@pytest.fixture
def drawn(monkeypatch):
    """Returns a list that takes the figures instead of files."""
    figures = []
    monkeypatch.setattr(canvas, "save", lambda figure, path: figures.append(figure))
    return figures


def test_median_least_and_most_of_the_subsets():
    row = figures([30, 10, 20, 50, 25])
    assert row["accuracies"] == [0.6, 0.2, 0.4, 1.0, 0.5]
    assert (row["median"], row["min"], row["max"]) == (0.5, 0.2, 1.0)
    assert figures([10, 20])["median"] == pytest.approx(0.3)


def test_a_panel_for_each_set_and_a_line_for_each_model(drawn):
    accuracy_by_examples(ROWS, "unused.png")
    one, other = drawn[0].axes
    assert [a.get_title(loc="left") for a in (one, other)] == ["set", "b|set"]
    for axes in (one, other):
        assert axes.get_xscale() == "log"
        assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "5"]
    a, b, nothing, guessing = one.lines
    assert a.get_xydata().tolist() == [[1, 0.14], [5, 0.3]]
    assert b.get_xydata().tolist() == [[5, 0.6]]
    assert nothing.get_xydata().size == 0
    assert np.unique(guessing.get_ydata()) == [0.1]
    assert len({line.get_color() for line in (a, b)}) == 2
    assert a.get_linestyle() != other.lines[2].get_linestyle()
    key = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert key == ["A, probe", "B, probe", "A, fine-tuning", "guessing"]


def test_bands_reach_from_the_least_to_the_most(drawn):
    accuracy_by_examples(ROWS[:2], "unused.png")
    (band,) = drawn[0].axes[0].collections
    corners = {tuple(np.round(v, 9)) for v in band.get_paths()[0].vertices}
    assert corners == {(1, 0.1), (1, 0.18), (5, 0.2), (5, 0.4)}
    assert [t.get_text() for t in drawn[0].legends[0].get_texts()][0] == "A, probe"


def test_a_single_number_of_examples_shows_its_span(drawn):
    accuracy_by_examples(ROWS[:1], "unused.png")
    _, span = drawn[0].axes[0].collections
    assert span.get_segments()[0].tolist() == [[1, 0.1], [1, 0.18]]


def test_the_report_holds_all_figures(tmp_path):
    paths = write_fewshot_report(
        tmp_path / "new",
        ROWS,
        models={"A": {"parameters": 1234567}, "B": {"parameters": 2}},
        datasets={"set": {"classes": 10}, "b|set": {"classes": 2}},
        settings={"examples per class": (1, 5), "seeds": [0, 1, 2]},
        notes=["B has *random* weights."],
        timings={"this call": 61.0},
    )
    names = ["report.json", "report.md", "report.html", "fewshot.png"]
    assert [path.name for path in paths] == names
    report = json.loads(paths[0].read_text())
    assert report["results"] == ROWS
    assert report["settings"]["examples per class"] == [1, 5]
    assert "keras" in report["environment"]
    text = paths[1].read_text()
    for line in (
        "the median over 3 balanced subsets",
        "- B has \\*random\\* weights.",
        "![Accuracy against examples per class](fewshot.png)",
        "## set",
        "50 test images; guessing gets 10.0 % right.",
        "| Model | Method | 1 | 5 |",
        "| A | probe | 14.0 % (10.0–18.0) | 30.0 % (20.0–40.0) |",
        "| B | probe | – | 60.0 % (50.0–70.0) |",
        "## b\\|set",
        "| A | fine-tuning | 40.0 % (20.0–80.0) |",
        "| A | parameters | 1,234,567 |",
        "|  | probe | as it is; otherwise |",
        "| all | examples per class | 1, 5 |",
        "| time, this call | 1 min 01 s |",
        "| seed | 0, 1, 2 |",
    ):
        assert line in text.splitlines() or line in text.splitlines()[2], line
    page = paths[2].read_text()
    for part in ('<h2 id="section-2">b|set</h2>', "<td>A</td><td>probe</td>"):
        assert part in page
    assert paths[3].read_bytes().startswith(b"\x89PNG")
