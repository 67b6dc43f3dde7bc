"""VTAB-1k as a job: what is run, kept, chosen, left out and reported."""

import dataclasses
import json

import numpy as np
import pytest
from small_runs import Uncompiled, all_weights, make_model, make_source

from bit_keras.errors import InputError, Interrupted
from bit_keras.evaluation.vtab import TASKS
from bit_keras.workflows import vtab as job
from bit_keras.workflows.fine_tuner import FineTuner, FrozenModel
from bit_keras.workflows.vtab import vtab

READY = {"dtd", "kitti", "dsprites", "smallnorb"}
TASKS_THERE = ["dtd", "kitti-distance", "dsprites-xpos", "dsprites-orientation"]


@pytest.fixture(autouse=True)
def sets(monkeypatch):
    """Puts small sets in the place of TFDS's; lists which parts were opened."""
    opened = []

    def open_task(task, data_dir, manual_dir, train="train1000", test="test"):
        opened.append((task.name, train, test))
        source = make_source(num_examples=9, num_test=200 if test == "val200" else 8)
        return dataclasses.replace(source, name=f"vtab/{task.name}")

    def check_data(tasks, data_dir):
        names = {}
        for task in tasks:
            names.setdefault(task.data.name, []).append(task.name)
        return [
            {
                "dataset": name,
                "tasks": tasks,
                "state": "ready" if name in READY else "by hand",
                "advice": "" if name in READY else "ask somebody",
            }
            for name, tasks in names.items()
        ]

    monkeypatch.setattr(job, "open_task", open_task)
    monkeypatch.setattr(job, "check_data", check_data)
    return opened


@pytest.fixture
def calls(monkeypatch):
    """Lists the runs that are made; each gets right what its recipe and seed say."""
    made = []

    def run(self, source, recipe, seed):
        made.append((source.name, recipe.steps, recipe.base_learning_rate, seed))
        if source.test.num_examples == 8:
            return 4 + seed
        # In the search, the rate of 0.01 and the longer schedule are best.
        return int(100 - 5000 * abs(recipe.base_learning_rate - 0.01) + recipe.steps)

    monkeypatch.setattr(FineTuner, "run", run)
    return made


@pytest.fixture(scope="module")
def model():
    return make_model(num_classes=0)


def evaluate(model, out_dir, tasks=TASKS_THERE, **options):
    return vtab({"tiny": model}, tasks, out_dir, progress=False, **options)


def test_each_task_is_run_by_the_hyperrule_and_tested(model, tmp_path, calls, sets):
    report = evaluate(model, tmp_path, seeds=3)
    names = [f"vtab/{name}" for name in TASKS_THERE]
    assert calls == [(name, 500, 0.003, s) for name in names for s in range(3)]
    assert sets == [(name, "train1000", "test") for name in TASKS_THERE]
    for row in report["results"]:
        assert row["num_correct"] == [4, 5, 6]
        assert (row["mean"], row["min"], row["max"]) == (5 / 8, 4 / 8, 6 / 8)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"report.json", "report.md", "report.html", "vtab.png", "runs"}


def test_a_search_takes_what_is_best_on_the_200(model, tmp_path, calls, sets):
    options = {"search": True, "rates": (0.003, 0.01, 0.03), "search_steps": (2, 4)}
    report = evaluate(model, tmp_path, ["dtd"], seeds=2, **options)
    tried = [(2, 0.003), (2, 0.01), (2, 0.03), (4, 0.003), (4, 0.01), (4, 0.03)]
    chosen = [(4, 0.01, seed) for seed in (0, 1)]
    assert [call[1:] for call in calls] == [*((*t, 0) for t in tried), *chosen]
    assert sets == [("dtd", "train1000", "test"), ("dtd", "train800", "val200")]
    [row] = report["results"]
    assert row["search"][4] == {"steps": 4, "learning rate": 0.01, "accuracy": 0.52}
    assert row["num_correct"] == [4, 5]
    assert "4 steps" in row["setting"] and "0.01" in row["setting"]
    assert (
        "Trained on 800 of the 1000 examples." in (tmp_path / "report.md").read_text()
    )


def test_an_interrupted_job_goes_on_after_its_last_run(
    model, tmp_path, calls, monkeypatch
):
    counted = FineTuner.run

    def run(self, *args):
        if len(calls) == 3:
            raise KeyboardInterrupt
        return counted(self, *args)

    monkeypatch.setattr(FineTuner, "run", run)
    with pytest.raises(Interrupted, match="go on after 3 of 8 runs"):
        evaluate(model, tmp_path, seeds=2)
    assert not (tmp_path / "report.json").exists()
    monkeypatch.setattr(FineTuner, "run", counted)
    report = evaluate(model, tmp_path, seeds=2)
    assert len(calls) == 8 and len(set(calls)) == 8
    assert [row["num_correct"] for row in report["results"]] == [[4, 5]] * 4
    assert "3 of 8 runs were finished before this call." in report["notes"]
    again = evaluate(model, tmp_path, seeds=2)
    assert len(calls) == 8 and again["results"] == report["results"]


def test_other_settings_and_weights_are_other_runs(tmp_path, calls):
    model = make_model(num_classes=0)
    evaluate(model, tmp_path, ["dtd"])
    evaluate(model, tmp_path, ["dtd"], steps=7)
    model.backbone.weights[0].assign(2 * model.backbone.weights[0])
    evaluate(model, tmp_path, ["dtd"])
    assert [call[1] for call in calls] == [500, 7, 500]


def test_means_are_given_where_no_task_is_missing(model, tmp_path, calls):
    READY.update(task.data.name for task in TASKS.values())
    try:
        whole = evaluate(model, tmp_path / "all", ["all"])
    finally:
        READY.intersection_update({"dtd", "kitti", "dsprites", "smallnorb"})
    assert whole["means"]["tiny"] == dict.fromkeys(
        ("all", "natural", "specialized", "structured"), 0.5
    )
    part = evaluate(model, tmp_path / "part", ["structured"], skip_missing=True)
    assert set(part["means"]["tiny"].values()) == {None}
    left_out = [note.split(" is left out")[0] for note in part["notes"]]
    assert left_out == ["clevr-count", "clevr-distance", "dmlab"]


def test_published_means_stand_beside_ours(model, tmp_path, calls):
    report = evaluate(model, tmp_path, ["dtd"])
    table = (tmp_path / "report.md").read_text()
    assert (
        "| BiT-M-R152x4 | big_transfer's README: runs after the paper's | 73.51 %"
        in (table)
    )
    assert json.loads((tmp_path / "report.json").read_text()) == report


def test_it_is_a_fine_tuning_of_the_model(model, monkeypatch, tmp_path):
    """What is kept is what `FineTuner` counts, with the rule's flips and crops."""
    recipes = []

    def candidates(self, task):
        recipe = Uncompiled(36, 36, 9, batch_size=4, steps=2, resize=32, crop=32)
        recipes.append(recipe)
        return [recipe]

    monkeypatch.setattr(job.VtabOptions, "candidates", candidates)
    before = all_weights(model)
    report = evaluate(model, tmp_path, ["dtd"])
    tuner = FineTuner(FrozenModel("again", model), 3, progress=False)
    expected = tuner.run(make_source(9, 8), recipes[0], seed=0)
    assert report["results"][0]["num_correct"] == [expected]
    np.testing.assert_array_equal(all_weights(model), before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ["dtdd"]}, "no task and no group `dtdd`; did you mean `dtd`"),
        ({"tasks": []}, "at least one task"),
        ({"tasks": ["svhn"]}, "The set svhn_cropped is not ready: ask somebody; or"),
        ({"tasks": ["svhn"], "skip_missing": True}, "None of the sets is there"),
        ({"seeds": 0}, "`seeds` must be at least 1. Received: 0"),
        ({"search": True, "steps": 5}, "A search chooses the number of steps"),
        ({"rates": (0.0,)}, "`rates` must be positive"),
        ({"search_steps": ()}, "`search_steps` must be positive"),
        ({"seed": 1}, "There is no option `seed`, but batch_size"),
    ],
)
def test_mistakes_are_found_before_any_work(model, tmp_path, calls, changes, message):
    with pytest.raises(InputError, match=message):
        evaluate(model, tmp_path / "new", **changes)
    with pytest.raises(InputError, match="gone.npz is not there"):
        vtab({"a": "gone.npz"}, ["dtd"], tmp_path / "new")
    assert not calls and not (tmp_path / "new").exists()
