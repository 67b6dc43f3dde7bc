"""Figures that follow from known times, steps that do what they say, one real run."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import bit_keras
from bit_keras.cli import benchmark as command
from bit_keras.cli.main import main
from bit_keras.errors import InputError, RunError
from bit_keras.workflows import benchmark as workflow
from bit_keras.workflows import measure
from bit_keras.workflows.benchmark import Bench, Benchmark, Figures, with_flops
from bit_keras.workflows.measure import Timing

WITHOUT_XLA = {"jit_compile": False}


class FakeMemory:
    """Needs a megabyte for each image; the machine has `total`."""

    described_as = "a made-up machine"

    def __init__(self, total=1000):
        self.total = total

    def reset(self):
        self.batch_size = None

    def peak(self):
        return self.batch_size

    def has_room(self, amount):
        return amount <= self.total


@pytest.fixture
def known_times(monkeypatch):
    """Lets a step of n images take n / images-per-second of a table."""

    def use(rates, memory, spread=(0.9, 1.0, 1.3)):
        def step_of(batch_size):
            if batch_size not in rates:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM")
            memory.batch_size = batch_size
            return batch_size

        def time_steps(batch_size, measurements, done):
            seconds = batch_size / rates[batch_size]
            return Timing(9.0, tuple(seconds * factor for factor in spread))

        monkeypatch.setattr(measure, "time_steps", time_steps)
        return step_of

    return use


def make_model(num_classes=7):
    keras.utils.set_random_seed(0)
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
    return bit_keras.BiTClassifier(backbone, num_classes, image_size=32)


def test_figures_of_a_given_batch(known_times):
    memory = FakeMemory()
    step_of = known_times({16: 32.0}, memory)
    figures = Bench(3, 16, (8, 64)).examine("train", step_of, memory)
    assert figures.images_per_second == 32
    assert figures.step_ms == 500
    # Of 450, 500 and 650 ms.
    np.testing.assert_allclose(figures.step_ms_spread, (460, 620))
    assert figures.first_step_seconds == 9
    assert (figures.peak_memory, figures.peak_memory_kind) == (16, "a made-up machine")
    assert (figures.tried, figures.search_ended) == ((), None)


def test_figures_of_the_fastest_batch(known_times):
    memory = FakeMemory()
    step_of = known_times({8: 100.0, 16: 200.0, 32: 180.0, 64: 900.0}, memory)
    figures = Bench(3, None, (8, 64)).examine("infer", step_of, memory)
    assert (figures.batch_size, figures.peak_memory) == (16, 16)
    assert figures.tried == ((8, 100.0), (16, 200.0), (32, 180.0))
    assert figures.search_ended == measure.NO_FASTER


def test_search_leaves_room_for_the_rest_of_the_machine(known_times):
    memory = FakeMemory(total=31)
    step_of = known_times({8: 100.0, 16: 200.0, 32: 400.0}, memory)
    figures = Bench(3, None, (8, 64)).examine("infer", step_of, memory)
    assert [size for size, _ in figures.tried] == [8, 16]
    assert figures.search_ended == measure.NO_ROOM


def test_too_little_memory_is_said_in_a_sentence(known_times):
    memory = FakeMemory()
    step_of = known_times({}, memory)
    with pytest.raises(RunError, match="A batch of 16 does not fit .* smaller batch"):
        Bench(3, 16, (8, 64)).examine("train", step_of, memory)
    with pytest.raises(RunError, match="Not even one image fits .* smaller model"):
        Bench(3, None, (8, 64)).examine("train", step_of, memory)


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


def test_share_of_the_matrix_rate():
    figures = with_flops(some_figures(), operations=8e9, matrix_flops=40e12)
    assert figures.model_flops == 10e12
    assert figures.matrix_share == 0.25


def test_inference_is_that_of_the_model():
    model = make_model()
    model.head.kernel.assign(np.random.default_rng(0).normal(0, 1, (1024, 7)))
    images = workflow._images(3, 32)
    expected = np.array(model(images))
    stored = np.array(model.backbone.get_layer("root_conv").kernel)
    run = workflow.inference_step(model, 32, WITHOUT_XLA)(3)
    np.testing.assert_allclose(run().numpy(), expected[0], rtol=1e-4, atol=1e-4)
    # Standardized beforehand and not in each step, which would take the mean away.
    kernel = np.array(model.backbone.get_layer("root_conv").kernel)
    centred = stored - stored.mean((0, 1, 2))
    np.testing.assert_allclose(kernel, centred / stored.std((0, 1, 2)), atol=1e-5)
    model.backbone.get_layer("root_conv").kernel.assign(kernel + 0.5)
    assert not np.allclose(run().numpy(), expected[0], rtol=1e-2)


def test_training_updates_the_weights_each_step():
    model = make_model()
    rule = bit_keras.HyperRule(32, 32, num_examples=1)
    eager = WITHOUT_XLA | {"run_eagerly": True}
    step_of = workflow.training_step(model, 32, rule.compile_args() | eager)
    run = step_of(4)
    # A head of zeros finds all of 7 classes equally likely.
    assert run().numpy() == pytest.approx(np.log(7), rel=1e-5)
    run()
    assert int(model.optimizer.iterations.numpy()) == 2
    # The rate of the first step is 0.
    assert np.abs(model.head.kernel).max() > 0
    step_of(2)()
    assert int(model.optimizer.iterations.numpy()) == 3


def test_images_are_as_the_network_takes_them():
    images = workflow._images(2, 48).numpy()
    assert images.shape == (2, 48, 48, 3)
    assert -1 <= images.min() < -0.9 and 0.9 < images.max() <= 1


def test_input_is_that_of_training():
    step_of = workflow.input_step(bit_keras.open_source("doodles"), 32)
    run = step_of(6)
    first, second = run().numpy(), run().numpy()
    assert first.shape == second.shape == (6, 20)
    np.testing.assert_allclose(first.sum(1), 1)
    assert (first != second).any()


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
        dataset="doodles",
        matrix_size=8192,
        matrix_flops=700e12,
        modes={
            "infer": some_figures(
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
    assert lines[3] == "Pipeline: doodles, for training at 224 px"
    infer, pipeline = (line.split() for line in lines[6:8])
    spread = ["12.8", "(12", "to", "13.5)"]
    assert infer == (
        ["infer", "16", "1,250.0", *spread, "3.2", "s", "2.50", "GB", "140", "20.0%"]
    )
    assert pipeline == ["pipeline", "16", "1,250.0", *spread, "3.2", "s", *"---"]
    assert lines[9:] == [
        "Batches tried for infer: 8, 16; more does not fit into the memory.",
        "Peak memory of infer: that of the GPU's allocator.",
        "Peak memory of pipeline: that of the process.",
    ]


@pytest.mark.parametrize("text", ["0", "-4", "many", "2.5", ""])
def test_batch_size_is_a_number_or_auto(capsys, text):
    assert main(["benchmark", f"--batch_size={text}"]) == 2
    assert "--batch_size must be a positive number or" in capsys.readouterr().err
