"""Passes what Ray Tune reports on to the observer of a run, in the driver.

Only `on_ray` imports this module, after its settings, which Ray reads when it is imported.
"""

import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune

from ablations.backends.attempts import describe_limit
from ablations.backends.job import Event, Job, Observer, TrialFailed, TrialStarted
from ablations.backends.nodes import receive_weights


class Relay(tune.Callback):
    """Passes Tune's results to the observer and remembers which trials have ended."""

    def __init__(self, job: Job, observe: Observer) -> None:
        self._job = job
        self._observe = observe
        self._heard: dict[str, float] = {}
        self._starved: list[str] = []
        self._is_alone = False
        self.ended: set[str] = set()
        self.error: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that never happens

    def begin_alone(self) -> Sequence[str]:
        """The trials that lacked memory beside others, once all others have ended.

        From now on, a lack of memory is how they end.
        """
        self._is_alone = True
        is_whole = len(self.ended) + len(self._starved) == len(self._job.specs)
        return self._starved if is_whole and self.error is None else ()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """An attempt at a trial begins."""
        self._heard[trial.config["trial"]] = time.monotonic()
        self._report(TrialStarted(key=trial.config["trial"]))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """A trial has trained one more epoch, or ended."""
        event: Event = result["event"]
        weights = result.pop("weights", None)  # Tune keeps the last result of each trial
        self._heard[event.key] = time.monotonic()
        if not self._is_postponed(event.key, is_starved=result.get("is_starved", False)):
            self._report(event, weights=weights)
            if result["done"]:
                self.ended.add(event.key)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """An attempt at a trial raised, or its worker ended."""
        if trial.status != "ERROR":  # this attempt will be retried
            return
        key, details = trial.config["trial"], _read_error(trial)
        reason = details.splitlines()[-1]
        limit = self._job.find_limit(key)
        if time.monotonic() - self._heard.get(key, math.inf) > limit:  # it could not be interrupted
            reason = describe_limit(limit)
        if not self._is_postponed(key, is_starved="OutOfMemoryError" in reason):
            self._report(TrialFailed(key=key, reason=reason, details=details))
            self.ended.add(key)

    def _is_postponed(self, key: str, *, is_starved: bool) -> bool:
        """Whether a trial will be tried once more, alone."""
        if is_starved and not self._is_alone:
            self._starved.append(key)
        return is_starved and not self._is_alone

    def stop(self, _trial: str, _result: Mapping[Any, Any]) -> bool:
        """Stops all trials once the observer has raised."""
        return self.error is not None

    def _report(self, event: Event, *, weights: bytes | None = None) -> None:
        try:
            if weights is not None:
                receive_weights(weights, event.key, self._job.workspace)
            self._observe(event)
        except Exception as error:  # noqa: BLE001 - raised again outside Tune, which would swallow it
            self.error = self.error or error


def _read_error(trial: Any) -> str:
    """Stack traces of a trial's attempts as Tune wrote them, without colours."""
    path = Path(trial.error_file or "")
    if not path.is_file():
        return "Ray Tune did not report the error."
    return re.sub(r"\x1b\[[0-9;]*m", "", path.read_text(encoding="utf-8")).strip()
