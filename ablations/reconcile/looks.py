"""Looks at tables: which ones were taken, and what the next one needs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from ablations.config import Config, read_paper
from ablations.ledger import Findings, Ledger
from ablations.plans import Plan
from ablations.statistics import Path, Price, follow_looks, list_active, price_looks
from ablations.study import Study, build_definition, describe_trials
from ablations.tables.comparison import build_question, build_sample


def outline_study(config: Config, plan: Plan, findings: Findings) -> Study:
    """The study of a plan without complexities, which looks do not need."""
    definition = build_definition(config.experiment(plan.experiment), plan, read_paper())
    trials = tuple(describe_trials(plan, definition, findings.records))
    return Study(definition=definition, scales={}, trials=trials)


def price_plan(
    config: Config, plan: Plan, findings: Findings, seconds: Mapping[str, float]
) -> Price:
    """What all further looks at a plan take.

    Args:
        config: The content of experiments.yaml.
        plan: The plan with the trials of all looks.
        findings: What is known of them.
        seconds: Duration of a trial, by variant.
    """
    study = outline_study(config, plan, findings)
    return price_looks(follow_study(study), build_sample(study), seconds)


def follow_study(study: Study) -> Path:
    """The looks that a study's trials allow, and what the next one needs."""
    return follow_looks(build_question(study), build_sample(study))


def limit_study(study: Study) -> Study:
    """The study with the trials that its last look asks for."""
    definition = study.definition
    if len(definition.planned_looks) == 1:
        return study
    order = {seed: place for place, seed in enumerate(definition.seeds)}
    seeds = follow_study(study).seeds
    trials = tuple(t for t in study.trials if order[t.seed] < seeds[t.variant])
    return replace(study, trials=trials)


def record_look(study: Study, plan: Plan, ledger: Ledger) -> Study:
    """Records that a study's table is looked at; returns the study with all looks at it."""
    name, n = plan.trained_as, max(count_seeds(study).values())
    ledger.add_look(plan.experiment, name, study.definition.seeds[:n])
    looks = [*study.looks, *map(tuple, ledger.list_looks(plan.experiment, name))]
    return replace(study, looks=tuple(dict.fromkeys(looks)))


def count_seeds(study: Study) -> Mapping[str, int]:
    """Number of seeds of each variant at the look at which a study stands."""
    return Counter(trial.variant for trial in study.trials)


def count_further(path: Path) -> tuple[int, int]:
    """Number of trials that the next look adds, and that all looks add if nothing is decided."""
    added = [needed - path.seeds[name] for name, needed in path.needed.items()]
    last = path.question.looks[-1]
    return sum(added), sum(last - path.seeds[name] for name in list_active(path))
