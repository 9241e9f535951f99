"""Durations, sizes, costs and shares as people read them."""


def format_duration(seconds: float) -> str:
    """A duration in a suitable unit.

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
    """A number of bytes in a suitable unit.

    >>> [format_size(s) for s in (0, 12_345, 25_600_000, 3.2e9)]
    ['0 kB', '12 kB', '25.6 MB', '3.2 GB']
    """
    if size < 1e6:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def format_cost(cost: int, match: str) -> str:
    """Multiply-adds (`macs`) or parameters (`params`) in a suitable unit.

    >>> format_cost(2_314_816, "macs"), format_cost(4_468_230_144, "macs")
    ('2.315 MFLOPs', '4.468 GFLOPs')
    >>> format_cost(55_474, "params"), format_cost(27_479_784, "params")
    ('55,474 parameters', '27.480 M parameters')
    """
    if match == "macs":
        return f"{cost / 1e9:.3f} GFLOPs" if cost >= 1e9 else f"{cost / 1e6:.3f} MFLOPs"
    return f"{cost / 1e6:.3f} M parameters" if cost >= 1e6 else f"{cost:,} parameters"


def format_share(share: float) -> str:
    """A signed share as a percentage.

    >>> format_share(0.1417), format_share(-0.0004)
    ('+14.2%', '+0.0%')
    """
    return f"{round(100 * share, 1) + 0.0:+.1f}%"  # adding 0.0 turns -0.0 into 0.0


def format_level(level: float) -> str:
    """A level of a test or an interval as a percentage.

    >>> format_level(0.05), format_level(1 - 0.0146)
    ('5 %', '98.54 %')
    """
    return f"{100 * level:.4g} %"
