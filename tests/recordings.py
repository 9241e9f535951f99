"""Recordings for tests: one variant with a few seeds, as the paper describes its networks."""

from collections.abc import Sequence

from ablations.attention import Example, NetworkRecord, Recording, Role, UnitRecord
from ablations.trial.records import Environment

UNITS = ("SK_2_1", "SK_3_1", "SK_4_1")
ENVIRONMENT = Environment(
    device="a processor",
    commit="c0ffee",
    dirty=False,
    **dict.fromkeys(("python", "torch", "package", "platform"), "1"),
)


def make_unit(name: str, *, change: float, correlation: float) -> UnitRecord:
    """A unit whose difference is -0.1 for images that are not enlarged."""
    differences = (-0.1, -0.1 + change / 2, -0.1 + change)
    shares = tuple(((1 - d) / 2, (1 + d) / 2) for d in differences)
    return UnitRecord(
        name=name,
        extents=(3, 5),
        shares=shares,
        deviations=(0.1, 0.1, 0.1),
        change_deviations=(0.0, 0.1, 0.1),
        by_class=tuple((d, d, None) for d in differences),
        by_size=(shares[0], shares[2]),
        correlation=correlation,
    )


def make_network(
    seed: int, *, role: Role = "trained", changes: Sequence[float], correlations: Sequence[float]
) -> NetworkRecord:
    """A network that differs a little from one seed to the next."""
    noise = 0.002 * (seed - 1)
    return NetworkRecord(
        variant="SK",
        seed=seed,
        source=f"{role} {seed}",
        role=role,
        units=tuple(
            make_unit(name, change=change + noise, correlation=correlation + noise)
            for name, change, correlation in zip(UNITS, changes, correlations, strict=True)
        ),
        errors=(5.0 + seed, 20.0, 40.0),
        replaced={
            "mean": 7.0 + seed + noise,
            "smallest": 50.0 + 10 * seed,
            "largest": 60.0 + 12 * seed,
            "shuffled": 5.0 + seed + noise,
        }
        if role == "trained"
        else {},
    )


def make_recording(
    *,
    seeds: int = 3,
    changes: Sequence[float] = (0.1, 0.05, 0.0),
    correlations: Sequence[float] = (0.9, 0.8, 0.05),
) -> Recording:
    """A recording of networks as the paper describes them, with their untrained controls."""
    example = Example(
        index=4,
        object_size=10,
        side=2,
        pictures=("00ff00ff",) * 3,
        differences={"SK": ((-0.1, 0.0, 0.1),) * 3},
        channels={"SK": ((0.4, 0.6),) * 3},
    )
    return Recording(
        experiment="e",
        recipe_name="quick",
        dataset="digits",
        body="tiny",
        test_images=400,
        margin=0.5,
        sizes={8: 200, 20: 200},
        networks=tuple(
            network
            for seed in range(seeds)
            for network in (
                make_network(seed, changes=changes, correlations=correlations),
                make_network(
                    seed,
                    role="untrained",
                    changes=(0.0, 0.0, 0.0),
                    correlations=((-1) ** seed * 0.9,) * 3,
                ),
            )
        ),
        examples=(example,),
        skipped={"sum": "it adds its kernels up"},
        environment=ENVIRONMENT,
    )
