import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.evaluation import canvas
from bit_keras.evaluation.vtab import GROUPS, TASKS
from bit_keras.evaluation.vtab_plot import accuracy_by_task
from bit_keras.evaluation.vtab_report import means_of, summarize_task

COUNTS = st.lists(st.integers(0, 50), min_size=2, max_size=2)


def summarize(task, counts, model="a"):
    return summarize_task(
        TASKS[task], counts, 50, model=model, setting="rule", search=[], seconds=1.0
    )


@given(
    st.fixed_dictionaries(dict.fromkeys(TASKS, COUNTS)),
    st.sets(st.sampled_from(sorted(TASKS)), max_size=3),
)
@settings(max_examples=30, deadline=None)
def test_means_count_every_task_alike(counts, missing):
    rows = [summarize(t, c) for t, c in counts.items() if t not in missing]
    means = means_of(rows)["a"]
    for group in ("all", *GROUPS):
        names = [t.name for t in TASKS.values() if group in ("all", t.group)]
        if missing & set(names):
            assert means[group] is None
        else:
            shares = [np.mean(counts[name]) / 50 for name in names]
            assert means[group] == pytest.approx(np.mean(shares))
    assert [len([t for t in TASKS.values() if t.group == g]) for g in GROUPS] == [
        7,
        4,
        8,
    ]


def test_each_task_is_drawn_at_its_place(monkeypatch):
    drawn = []
    monkeypatch.setattr(canvas, "save", lambda figure, path: drawn.append(figure))
    accuracy_by_task(
        [
            summarize("dmlab", [10, 20]),
            summarize("dmlab", [40, 50], model="b"),
            summarize("svhn", [5, 5]),
        ],
        "unused.png",
    )
    natural, structured = drawn[0].axes
    assert [label.get_text() for label in structured.get_yticklabels()] == ["dmlab"]
    points = [line.get_xydata()[0] for line in structured.lines]
    np.testing.assert_allclose([x for x, _ in points], [0.3, 0.9])
    assert points[0][1] < points[1][1]
    assert [line.get_xdata()[0] for line in natural.lines] == [0.1]
    spans = [c.get_segments()[0][:, 0].tolist() for c in structured.collections[1:]]
    assert spans == [[0.2, 0.4], [0.8, 1.0]]
    texts = [text.get_text() for text in structured.get_legend().get_texts()]
    assert texts == ["a", "b"]
