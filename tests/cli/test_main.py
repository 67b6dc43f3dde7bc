import pytest
from absl import flags

from bit_keras.cli import main as main_module
from bit_keras.cli.main import COMMANDS, main
from bit_keras.errors import InputError, RunError


class FakeCommand:
    """Does something.

    More about it.
    """

    def __init__(self, error=None):
        self.error = error

    def define_flags(self, values):
        flags.DEFINE_integer("count", 3, "How often.", flag_values=values)

    def run(self, values, arguments):
        if self.error:
            raise self.error
        print(values.count, arguments)


def use(monkeypatch, command):
    monkeypatch.setattr(main_module.importlib, "import_module", lambda name: command)


def test_flags_and_arguments_reach_the_command(monkeypatch, capsys):
    use(monkeypatch, FakeCommand())
    assert main(["predict", "a.png", "--count=5", "b.png"]) == 0
    assert capsys.readouterr().out == "5 ['a.png', 'b.png']\n"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InputError("This is wrong."), 2, "bit-keras: This is wrong.\n"),
        (RunError("That failed."), 1, "bit-keras: That failed.\n"),
        (OSError(28, "No space left"), 1, "bit-keras: [Errno 28] No space left\n"),
        (KeyboardInterrupt(), 130, "bit-keras: interrupted.\n"),
    ],
)
def test_failures_are_a_sentence_and_a_status(
    monkeypatch, capsys, error, status, message
):
    use(monkeypatch, FakeCommand(error))
    assert main(["predict"]) == status
    assert capsys.readouterr().err == message


def test_a_mistake_of_ours_is_not_dressed_up(monkeypatch):
    use(monkeypatch, FakeCommand(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["predict"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["predikt"], "There is no command `predikt`; did you mean `predict`?"),
        (["xyz"], "There is no command `xyz`; one of finetune, pretrain, evaluate"),
        (["predict", "--cuont=5"], "Unknown command line flag 'cuont'. Did you mean"),
        (["predict", "--count=many"], "flag --count=many: invalid literal"),
    ],
)
def test_misspelt_commands_and_flags(monkeypatch, capsys, argv, message):
    use(monkeypatch, FakeCommand())
    assert main(argv) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_overview_names_every_command(capsys, argv):
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    for command in COMMANDS:
        assert any(line.split()[:1] == [command] for line in lines)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_only_the_flags_of_the_command(capsys, command):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"bit-keras {command}: ")
    without = ("evaluate", "reproduce", "predict", "export", "convert", "presets")
    has_steps = command not in without
    assert ("--steps" in text) == has_steps
    assert ("--top_k" in text) == (command == "predict")
    assert "--verbosity" not in text  # one of absl's own
