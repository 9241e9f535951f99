"""One exception type for each exit code; the message is all that a user sees."""


class AblationError(Exception):
    """A failure that the user can act on; shown without a stack trace."""

    exit_code = 1


class IncompleteError(AblationError):
    """A trial failed, or a check did not hold."""

    exit_code = 1


class InputError(AblationError):
    """What the user wrote, in YAML or on the command line, is not possible."""

    exit_code = 2


class MisfitError(InputError):
    """A recipe's images have not the size that an experiment's networks are made for."""


class MachineError(AblationError):
    """The machine lacks something: a GPU, disk, a dataset, a writable folder."""

    exit_code = 3


class InterruptedRunError(AblationError):
    """The user stopped the run; what is finished is kept."""

    exit_code = 130
