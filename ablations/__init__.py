"""A declarative runner of ablation experiments.

The functions do what the commands do, for notebooks and scripts:

    outcome = ablations.run("dilation_group", seeds=range(5))
    outcome.table, outcome.claims, outcome.trials, outcome.curves
    ablations.plan("imagenet", recipe="imagenet")
    ablations.read_results("results/kernel_combination/quick")

Nothing heavy is imported until one of them is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ablations.errors import (
    AblationError,
    IncompleteError,
    InputError,
    InterruptedRunError,
    MachineError,
)

if TYPE_CHECKING:
    from ablations.door import plan, run
    from ablations.reconcile.outcome import Outcome, read_results
    from ablations.reconcile.survey import Forecast

__all__ = [
    "AblationError",
    "Forecast",
    "IncompleteError",
    "InputError",
    "InterruptedRunError",
    "MachineError",
    "Outcome",
    "plan",
    "read_results",
    "run",
]

_LATE = {
    "Forecast": "ablations.reconcile.survey",
    "Outcome": "ablations.reconcile.outcome",
    "plan": "ablations.door",
    "read_results": "ablations.reconcile.outcome",
    "run": "ablations.door",
}
"""What is imported on first use, and the module that holds it."""


def __getattr__(name: str) -> Any:
    """Imports a public name on first use."""
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
