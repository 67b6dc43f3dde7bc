"""Published tables filled anew: what is run, skipped, kept and reported."""

import dataclasses
import types

import pytest
from small_runs import Uncompiled, make_source

import bit_keras
from bit_keras.errors import InputError, Interrupted
from bit_keras.evaluation.paper_tables import Experiment
from bit_keras.published import Figure
from bit_keras.workflows import reproduce as job
from bit_keras.workflows.fine_tuner import FineTuner
from bit_keras.workflows.reproduce import reproduce

SOURCE = make_source(num_examples=30, num_test=8)
START = "t-r26x05"


def figure(task, value, **kwargs):
    return Figure(START, task, value, "somebody", **kwargs)


EXPERIMENTS = (
    Experiment(
        START,
        "cifar10",
        "paper",
        None,
        (figure("cifar10", 60.0), figure("cifar10", 90.0, metric="top-5")),
    ),
    Experiment(
        START, "cifar10", "paper", 5, (figure("cifar10", 40.0, examples_per_class=5),)
    ),
    Experiment(
        START, "vtab", "paper", None, (figure("vtab", 50.0), figure("vtab/natural", 70))
    ),
    Experiment("l-r50x1", "cifar10", "paper", None, (figure("cifar10", 99.0),)),
)


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    model = bit_keras.BiTClassifier(bit_keras.BiTBackbone(26, 0.5), 3)
    bit_keras.save_npz(model, folder / f"bit_{START.replace('-', '_')}.npz")
    return folder


@pytest.fixture
def calls(monkeypatch):
    """Puts quick ones in the place of sets and trainings; lists the trainings."""
    made = []

    def finetune(model, source, recipe, out_dir, **kwargs):
        made.append("fine-tuning")
        return types.SimpleNamespace(
            evaluation=types.SimpleNamespace(top1=0.625, top5=0.875)
        )

    def run(self, source, recipe, seed):
        made.append((source.train.num_examples, seed))
        return (1, 7, 3, 4, 8)[seed]

    def vtab(models, tasks, out_dir, weights, **kwargs):
        made.append(("vtab", tasks))
        means = {"all": 0.5, "natural": 0.75, "specialized": 0.2, "structured": None}
        return {"means": dict.fromkeys(models, means)}

    monkeypatch.setattr(job, "TABLES", {"fewshot": EXPERIMENTS})
    monkeypatch.setattr(job, "open_source", lambda *args, **kwargs: SOURCE)
    monkeypatch.setattr(job, "is_prepared", lambda name, data_dir: True)
    monkeypatch.setattr(
        job, "check_data", lambda *args: [{"dataset": "dtd", "state": "ready"}]
    )
    monkeypatch.setattr(job, "finetune", finetune)
    monkeypatch.setattr(job, "vtab", vtab)
    monkeypatch.setattr(FineTuner, "run", run)
    monkeypatch.setattr(
        Experiment,
        "recipe",
        lambda self, *size: Uncompiled(*size, batch_size=4, steps=2, crop=32),
    )
    return made


def test_figures_stand_beside_the_published_ones(tmp_path, calls, weights_dir):
    report = reproduce("fewshot", tmp_path, weights_dir=weights_dir)
    assert calls == ["fine-tuning", *((15, s) for s in range(5)), ("vtab", ["all"])]
    columns = ("what", "published", "reproduced", "difference")
    rows = [tuple(row[name] for name in columns) for row in report["figures"]]
    assert rows == [
        ("CIFAR-10, fine-tuned on all examples", 60.0, 62.5, 2.5),
        ("CIFAR-10, fine-tuned on all examples, top-5", 90.0, 87.5, -2.5),
        # The median of 1, 3, 4, 7 and 8 of 8.
        ("CIFAR-10, fine-tuned on 5 examples a class", 40.0, 50.0, 10.0),
        ("VTAB-1k, mean of 19 tasks", 50.0, 50.0, 0.0),
        ("VTAB-1k, Natural", 70, 75.0, 5.0),
        ("CIFAR-10, fine-tuned on all examples", 99.0, None, None),
    ]
    states = [row["state"] for row in report["experiments"]]
    assert states == ["done", "done", "done", "skipped"]
    table = (tmp_path / "report.md").read_text()
    assert "| 60 % | 62.50 % | +2.50 | somebody |" in table
    assert "3 of 4 experiments were carried out." in table
    assert "skipped: BiT-L-R50x1 was never published" in table


def test_what_is_finished_is_not_run_again(tmp_path, calls, weights_dir, monkeypatch):
    whole = FineTuner.run

    def interrupted(self, source, recipe, seed):
        if seed == 2:
            raise KeyboardInterrupt
        return whole(self, source, recipe, seed)

    monkeypatch.setattr(FineTuner, "run", interrupted)
    with pytest.raises(Interrupted, match="go on after 3 of 6 runs"):
        reproduce("fewshot", tmp_path, weights_dir=weights_dir)
    monkeypatch.setattr(FineTuner, "run", whole)
    report = reproduce("fewshot", tmp_path, weights_dir=weights_dir)
    assert calls == ["fine-tuning", *((15, s) for s in range(5)), ("vtab", ["all"])]
    assert "3 of 6 runs were finished before this call." in report["notes"]
    assert report["figures"][2]["reproduced"] == 50


def test_a_plan_runs_nothing(tmp_path, calls, weights_dir):
    lines = []
    options = {"weights_dir": weights_dir, "plan_only": True, "say": lines.append}
    report = reproduce("fewshot", tmp_path, images_per_second=100, **options)
    assert not calls
    states = [row["state"] for row in report["experiments"]]
    assert states == [*["not run yet"] * 3, "skipped"]
    hours = [row["hours"] for row in report["experiments"]]
    assert hours == [e.hours(100) for e in EXPERIMENTS] and min(hours) > 0
    assert lines[0].startswith("t-r26x05-cifar10: ") and lines[0].endswith("ready")


def test_what_is_missing_is_named(tmp_path, calls, monkeypatch, weights_dir):
    def missing(experiment, **options):
        return job._missing(experiment, job.ReproduceOptions(**options))

    first, _, tasks, _ = EXPERIMENTS
    public = dataclasses.replace(first, start="m-r50x1")
    monkeypatch.setattr(job, "cached_path", lambda url: tmp_path / "none")
    assert missing(public).startswith("BiT-M-R50x1.npz is not there; give weights_dir")
    assert missing(public, download=True) is None
    monkeypatch.setattr(job, "is_prepared", lambda name, data_dir: False)
    there = {"weights_dir": weights_dir}
    assert missing(first, **there) == "the TFDS set cifar10 is not there"
    rows = [{"dataset": "dtd", "state": s} for s in ("download", "ready", "damaged")]
    monkeypatch.setattr(job, "check_data", lambda *args: rows)
    assert missing(tasks, **there) == "2 sets are not there, first dtd"


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ("table9", {}, "`table` must be one of fewshot. Received: 'table9'"),
        ("fewshot", {"only": ["x"]}, "No experiment of fewshot begins with x; there"),
        ("fewshot", {"weights_dir": "gone"}, "gone is no folder; give the one"),
        ("fewshot", {"images_per_second": 0}, "must be positive. Received: 0"),
        ("fewshot", {"steps": 1}, "There is no option `steps`, but batch_split"),
    ],
)
def test_mistakes_are_found_before_any_work(tmp_path, calls, table, options, message):
    with pytest.raises(InputError, match=message):
        reproduce(table, tmp_path / "new", **options)
    assert not calls and not (tmp_path / "new").exists()
