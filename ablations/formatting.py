"""Durations and sizes as a person reads them."""


def format_duration(seconds: float) -> str:
    """A duration in the unit that suits it.

    >>> [format_duration(s) for s in (0.4, 75, 5400, 1e6, 1e9)]
    ['0 s', '1 min 15 s', '1.5 h', '11.6 days', '31.7 years']
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    for unit, length in (("h", 3600), ("days", 86400)):
        if seconds < 100 * length:
            return f"{seconds / length:.1f} {unit}"
    if seconds < 365 * 86400:
        return f"{seconds / 86400:.0f} days"
    return f"{seconds / 365 / 86400:.1f} years"


def format_size(size: float) -> str:
    """A number of bytes in the unit that suits it.

    >>> [format_size(s) for s in (0, 12_345, 25_600_000, 3.2e9)]
    ['0 kB', '12 kB', '25.6 MB', '3.2 GB']
    """
    if size < 1e6:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
