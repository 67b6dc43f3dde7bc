"""What README.md shows is what happens."""

import pathlib
import re
import subprocess
import sys

README = pathlib.Path(__file__).parents[1].joinpath("README.md").read_text()


def code_blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_python_runs_as_it_stands(tmp_path):
    """All of it in one process and an empty folder, with fewer steps for the time."""
    program = "\n".join(code_blocks("python"))
    assert "light(" in program and ".fit(" in program
    quicker = program.replace("\ntrain,", "\nrecipe = recipe.scaled(steps=4)\ntrain,")
    assert quicker != program
    done = subprocess.run(
        [sys.executable, "-c", f"{quicker}\nprint(features.shape)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    assert done.stdout.splitlines()[-1] == "(1, 1024)"
    assert {path.name for path in tmp_path.iterdir()} == {"doodles", "doodles.keras"}


def test_ci_runs_the_test_command():
    [command] = [block for block in code_blocks("sh") if "pytest" in block]
    steps = [step.strip() for step in command.splitlines()[-1].split("&&")]
    script = pathlib.Path(__file__).parents[1].joinpath(".ci", "run").read_text()
    install, test = steps[-2:]
    assert install.replace("pip install", "pip install --quiet") in script
    assert test in script
