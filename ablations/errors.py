"""One exception type per exit code; users see only the message."""

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST_NAME = 200
"""Longest name that is compared with known ones, which takes quadratic time."""


class AblationError(Exception):
    """A failure that the user can act on; shown without a stack trace."""

    exit_code = 1


class IncompleteError(AblationError):
    """A trial failed, or a check did not hold."""


class InputError(AblationError):
    """The YAML or the command line holds something impossible."""

    exit_code = 2


class MisfitError(InputError):
    """The images of a recipe's dataset do not fit the networks of an experiment."""


class MachineError(AblationError):
    """The machine lacks something: a GPU, disk space, a dataset, a writable folder."""

    exit_code = 3


class InterruptedRunError(AblationError):
    """The user stopped the run; finished trials are kept."""

    exit_code = 130


def suggest(name: str, known: Iterable[str]) -> str:
    """Asks whether a similar known name was meant; empty if none is similar.

    >>> suggest("epohcs", ["epochs", "seeds"])
    '; did you mean epochs?'
    """
    if len(name) > LONGEST_NAME:
        return ""
    similar = get_close_matches(name, list(known), n=1)
    return f"; did you mean {similar[0]}?" if similar else ""
