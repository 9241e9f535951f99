"""Time limits of trials: so far above the estimates that only trials that hang exceed them."""

import logging
from collections.abc import Mapping
from dataclasses import replace

from ablations.config import Config
from ablations.reconcile.plans import find_missing
from ablations.reconcile.survey import Settings, Survey, forecast_survey
from ablations.user_code import UserCodeError, calling_user_code

logger = logging.getLogger(__name__)

FACTOR = 20
"""Times the estimate. Slow disks, busy machines and workers slower than the driver stay below."""

LEAST_SECONDS = 1800.0
"""Least limit, since estimates of short trials leave out what happens once per trial."""

UNKNOWN_SECONDS = 7 * 86400.0
"""Limit if the time cannot be estimated."""


def limit_trials(config: Config, surveyed: Survey, settings: Settings) -> Mapping[str, float]:
    """Seconds that an attempt at each trial to run may take, by key."""
    missing = find_missing(surveyed.plans)
    hours = settings.backend.trial_hours
    if hours is not None:
        return dict.fromkeys(missing, 3600 * hours)
    try:
        with calling_user_code("estimating the time of a trial"):  # it trains for a moment
            forecasts = forecast_survey(config, surveyed, replace(settings, max_hours=None))
    except UserCodeError as error:
        logger.warning("%s. The time limit of each trial is a week; see --trial-hours.", error)
        return dict.fromkeys(missing, UNKNOWN_SECONDS)
    return {
        key: max(LEAST_SECONDS, FACTOR * trial.seconds)
        for forecast in forecasts
        for key, trial in forecast.estimate.trials.items()
    }
