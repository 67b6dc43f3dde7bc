"""Finds the command, parses its flags, runs it and words its failure."""

import contextlib
import difflib
import importlib
import signal
import sys
import textwrap
import warnings

from absl import flags

from bit_keras.errors import InputError, Interrupted, RunError

# A command is the module of its name, with `define_flags(values)`, `run(values,
# arguments)` and a docstring whose first line says what it does.
COMMANDS = (
    "finetune",
    "pretrain",
    "evaluate",
    "fewshot",
    "vtab",
    "reproduce",
    "predict",
    "export",
    "convert",
    "presets",
    "benchmark",
)

INPUT_STATUS = 2
FAILURE_STATUS = 1
# What shells add to the number of the signal that has ended a program.
SIGNAL_STATUS = 128


def main(argv):
    """Runs `bit-keras` with these arguments, the program's name left out.

    Returns:
        The exit status: 0, 2 for what the user gave, 1 for work that failed, and 128
        and the number of the signal that has interrupted it.
    """
    try:
        with warnings.catch_warnings(), _unwinding_at_sigterm():
            warnings.showwarning = _show_note
            return _run(list(argv))
    except (InputError, flags.Error) as error:
        return _complain(error, INPUT_STATUS)
    except Interrupted as error:
        return _complain(error, SIGNAL_STATUS + error.number)
    except (RunError, OSError) as error:
        return _complain(error, FAILURE_STATUS)
    except KeyboardInterrupt:
        return _complain("interrupted.", SIGNAL_STATUS + signal.SIGINT)


@contextlib.contextmanager
def _unwinding_at_sigterm():
    """Ends by an exception, so that what is half written is removed on the way."""

    def stop(number, frame):
        sys.exit(_complain("interrupted.", SIGNAL_STATUS + number))

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # Not in the main thread, where no handler can be set.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(argv):
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(_overview())
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        raise InputError(_describe_unknown(name))
    module = importlib.import_module(f"bit_keras.cli.{name}")
    values = flags.FlagValues()
    module.define_flags(values)
    if {"--help", "-h"} & set(rest):
        print(_command_help(name, module, values))
        return 0
    _, *arguments = values([name, *rest])
    module.run(values, arguments)
    return 0


def _describe_unknown(name):
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"one of {', '.join(COMMANDS)}"
    return f"There is no command `{name}`; {hint}"


def _overview():
    lines = ["bit-keras COMMAND [--flags]", ""]
    for name in COMMANDS:
        summary = importlib.import_module(f"bit_keras.cli.{name}").__doc__
        lines.append(f"  {name:10s} {summary.splitlines()[0]}")
    return "\n".join([*lines, "", "bit-keras COMMAND --help lists a command's flags."])


def _command_help(name, module, values):
    lines = [f"bit-keras {name}: {module.__doc__.strip()}", ""]
    for flag_name in sorted(values):
        flag = values[flag_name]
        default = "" if flag.default in (None, False) else f" [{flag.default}]"
        lines += textwrap.wrap(
            f"--{flag_name}{default}  {flag.help}",
            width=88,
            initial_indent="  ",
            subsequent_indent="      ",
        )
    return "\n".join(lines)


def _show_note(message, category, filename, lineno, file=None, line=None):
    print(f"Note: {message}", file=sys.stderr)


def _complain(message, status):
    print(f"bit-keras: {message}", file=sys.stderr)
    return status
