"""The complexities of a variant at both scales: the paper's and that of training."""

from dataclasses import dataclass
from pathlib import Path

from ablations.choices import Scale
from ablations.complexity.counts import Complexity, Sized, count_complexities
from ablations.config import Config
from ablations.plans import Plan


@dataclass(frozen=True, kw_only=True)
class Scales:
    """The complexities of a variant."""

    paper: Complexity
    """Complexity of the network at the paper's scale."""

    trained: Complexity
    """Complexity of the trained network."""

    def at(self, scale: Scale) -> Complexity:
        """The complexity at a scale."""
        return self.paper if scale == "paper" else self.trained


def count_scales(config: Config, plan: Plan, *, cache_file: Path) -> dict[str, Scales]:
    """Both complexities of every variant of a plan, by name."""
    paper_size = config.bodies[config.experiment(plan.experiment).paper_body].input_size
    trained_size = plan.trials[0].spec.dataset.image_size  # a plan without trials is refused
    pairs = {
        variant.name: (
            Sized(variant.paper_network, paper_size),
            Sized(variant.network, trained_size),
        )
        for variant in plan.variants
    }
    counted = count_complexities(
        [sized for pair in pairs.values() for sized in pair], cache_file=cache_file
    )
    return {
        name: Scales(paper=counted[paper], trained=counted[trained])
        for name, (paper, trained) in pairs.items()
    }
