"""The two kinds of failure that the package words for people."""


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one sentence that says what was given, what was expected and
    what to do. The command prints it alone and exits with status 2.
    """


class RunError(RuntimeError):
    """The input was fine, but the work could not be finished.

    Raised for what lies outside the program, such as a network that does not
    answer. The command prints the message alone and exits with status 1.
    """


class Interrupted(RunError):
    """A signal has stopped a run, which can go on where it stopped.

    The command exits with 128 and the number of the signal, as a shell would say.

    Args:
        number: The number of the signal.
        kept: What was kept, for the message.
    """

    def __init__(self, number, kept):
        super().__init__(f"interrupted; {kept}")
        self.number = number


def first_line(error):
    """Returns the first line of an exception's message, or else its kind.

    Messages of other libraries go on for many lines; the first one says what is wrong.
    """
    return (str(error).strip() or type(error).__name__).split("\n")[0]
