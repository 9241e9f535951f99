"""What several specs check."""


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Makes sure that a setting is one of those that there are.

    Raises:
        ValueError: If `value` is none of `choices`.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
