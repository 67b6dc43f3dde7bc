"""A real run of the command, and its table."""

import json

import keras
import pytest
import tensorflow as tf

import bit_keras
from bit_keras.cli import benchmark as command
from bit_keras.cli.main import main
from bit_keras.errors import InputError
from bit_keras.workflows import benchmark as workflow
from bit_keras.workflows import benchmark_steps, measure
from bit_keras.workflows.benchmark import Benchmark
from bit_keras.workflows.benchmark_figures import Figures


def make_model(num_classes=7):
    keras.utils.set_random_seed(0)
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
    return bit_keras.BiTClassifier(backbone, num_classes, image_size=32)


def some_figures(**kwargs):
    return Figures(
        **{
            "batch_size": 16,
            "images_per_second": 1250.0,
            "step_ms": 12.8,
            "step_ms_spread": (12.0, 13.5),
            "first_step_seconds": 3.21,
            "peak_memory": 2_500_000_000,
            "peak_memory_kind": "the GPU's allocator",
            **kwargs,
        }
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"modes": ["infer", "walk"]},
            "some of infer, train, pipeline. Received: walk",
        ),
        ({"modes": []}, "Received: none"),
        ({"model": "bit_m_r50x1", "width": 2}, "either a model or depth and width"),
        ({"depth": 51}, "`depth` must be one of"),
        ({"width": 0}, "`width` must be a positive multiple"),
        ({"model": "gone.npz"}, "gone.npz is not there"),
        ({"out": "."}, "is a folder"),
        ({"batch_split": 2}, "divide `batch_size`. Received: batch_size=None, batch"),
        ({"batch_split": 2, "batch_size": 3}, "Received: batch_size=3, batch_split=2"),
        ({"batch_split": 0, "batch_size": 4}, "must be a positive integer"),
        ({"batch_split": -2, "batch_size": 4}, "batch_size=4, batch_split=-2"),
    ],
)
def test_what_cannot_be_measured(options, message):
    with pytest.raises(InputError, match=message):
        workflow.benchmark(**options)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((None, None, None), ("R50x1", 1000, None)),
        ((None, 26, 0.5), ("R26x0.5", 1000, None)),
        (("bit_m_r101x3", None, None), ("R101x3", 21843, 224)),
    ],
)
def test_network_by_name_without_a_download(monkeypatch, arguments, expected):
    monkeypatch.setattr(workflow, "open_model", None)
    architecture, size = workflow._network(*arguments)
    assert (architecture.name, architecture.num_classes, size) == expected


def test_a_real_run(monkeypatch, capsys, tmp_path):
    """Three modes of a saved model: the file, what is printed, how figures relate."""
    monkeypatch.setitem(workflow.ON_CPU, "matrix", 512)
    model = make_model()
    model.save(tmp_path / "model.keras")
    out = tmp_path / "speed.json"
    flags = ["--batch_size=2", "--steps=1", "--xla=off", "--out", str(out)]
    argv = ["benchmark", "--model", str(tmp_path), *flags]
    assert main([*argv, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads(out.read_text())
    assert (result["network"], result["image_size"]) == ("R[1,1,1,1]x0.5", 32)
    assert (result["xla"], result["precision"]) == (False, "float32")
    assert result["num_parameters"] == model.count_params()
    assert result["environment"]["tensorflow"] == tf.__version__
    assert list(result["modes"]) == ["infer", "train", "pipeline"]
    for figures in result["modes"].values():
        low, high = figures["step_ms_spread"]
        assert 0 < low <= figures["step_ms"] <= high
        assert figures["images_per_second"] == pytest.approx(2e3 / figures["step_ms"])
        assert figures["peak_memory"] > 1e8
    forward = 2 * model.architecture.multiply_adds(32, 32)
    for mode, passes in {"infer": 1, "train": 3}.items():
        figures = result["modes"][mode]
        flops = passes * forward * figures["images_per_second"]
        assert figures["model_flops"] == pytest.approx(flops)
        share = flops / result["matrix_flops"]
        assert figures["matrix_share"] == pytest.approx(share)
    assert main(argv) == 2
    assert "speed.json exists; name another file" in capsys.readouterr().err


def test_table():
    result = Benchmark(
        environment={
            "device": "1 x GPU",
            "processor": "CPU",
            "cores": 16,
            "tensorflow": "2.21.0",
            "keras": "3.15.1",
            "bit_keras": "0.1.0",
        },
        network="R50x1",
        num_parameters=25_549_352,
        image_size=224,
        precision="mixed_bfloat16",
        xla=True,
        batch_split=4,
        remat=True,
        dataset="doodles",
        matrix_size=8192,
        matrix_flops=700e12,
        modes={
            "train": some_figures(
                model_flops=140e12,
                matrix_share=0.2,
                tried=((8, 900.0), (16, 1250.0)),
                search_ended=measure.OUT_OF_MEMORY,
            ),
            "pipeline": some_figures(peak_memory=None, peak_memory_kind="the process"),
        },
    )
    lines = list(command.describe(result))
    assert lines[0].startswith("1 x GPU; CPU, 16 cores; TensorFlow 2.21.0, Keras 3.15")
    assert lines[1] == (
        "R50x1, 25.5 M parameters (random ones), 224 px, mixed_bfloat16, XLA on"
    )
    assert lines[2] == "Matrix rate: 700 TFLOP/s, of matrices of 8192 x 8192"
    assert lines[3:6] == [
        "Training computes each batch in 4 parts",
        "Training computes the inside of each residual unit anew",
        "Pipeline: doodles, for training at 224 px",
    ]
    train, pipeline = (line.split() for line in lines[8:10])
    spread = ["12.8", "(12", "to", "13.5)"]
    assert train == (
        ["train", "16", "1,250.0", *spread, "3.2", "s", "2.50", "GB", "140", "20.0%"]
    )
    assert pipeline == ["pipeline", "16", "1,250.0", *spread, "3.2", "s", *"---"]
    assert lines[11:] == [
        "Batches tried for train: 8, 16; more does not fit into the memory.",
        "Peak memory of train: that of the GPU's allocator.",
        "Peak memory of pipeline: that of the process.",
    ]


def test_training_saves_memory_as_asked(monkeypatch):
    """The step that is measured has the parts, and its network computes anew."""
    monkeypatch.setitem(workflow.ON_CPU, "matrix", 512)
    seen = []

    def training_step(model, image_size, compile_args):
        make = benchmark_steps.training_step(model, image_size, compile_args)
        seen.append((model.batch_split, model.backbone.remat))
        return make

    monkeypatch.setattr(workflow, "training_step", training_step)
    measured = workflow.benchmark(
        depth=26,
        width=0.5,
        modes=["train"],
        image_size=32,
        batch_size=4,
        batch_split=2,
        remat=True,
        steps=1,
        xla=False,
        progress=False,
    )
    assert seen == [(2, True)]
    assert (measured.batch_split, measured.remat) == (2, True)


@pytest.mark.parametrize("text", ["0", "-4", "many", "2.5", ""])
def test_batch_size_is_a_number_or_auto(capsys, text):
    assert main(["benchmark", f"--batch_size={text}"]) == 2
    assert "--batch_size must be a positive number or" in capsys.readouterr().err
