"""Options of jobs, given as keyword arguments."""

import dataclasses

from bit_keras.errors import InputError


class Options:
    """What dataclasses of options have in common.

    A subclass has `nouns`, what is said of an unknown option: "There is no option".
    """

    nouns = "There is no option"

    @classmethod
    def of(cls, options):
        """Returns those of a dict of keyword arguments.

        Raises:
            InputError: If there is no such option; names those that there are.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(options.keys() - known):
            raise InputError(
                f"{cls.nouns} `{unknown[0]}`, but {', '.join(sorted(known))}."
            )
        return cls(**options)


def say_nothing(line):
    """Takes the place of `print` where nobody wants to read."""
