"""Names placed next to the points of a scatter plot, where nothing else is drawn."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
"""Rectangles as left, bottom, right, top, in pixels; one per row."""

_DIRECTIONS = ((1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1))
"""Where a name may be relative to its point, the preferred ones first."""

NEAREST = 9.0
"""Distance in pixels from a point to a name that needs no line."""

_DISTANCES = (NEAREST, *range(15, 200, 8))
"""Distances in pixels that are tried, the smallest first."""

_STEPS = np.linspace(0, 1, 30)[:-1, None]
"""Places on the line from a point to its name, as shares of its length."""

_ROOM = 3.0
"""Distance in pixels that lines keep from everything else."""

_DISTANCE_COST = 0.004
"""Cost of a pixel between a point and its name; crossing something with a line costs 1."""

_TOUCH_COST = 3.0
"""Cost of a name that touches something."""


def place_labels(
    points: Boxes, bars: Boxes, sizes: Sequence[tuple[float, float]], *, area: Boxes
) -> Boxes:
    """Places one name per point, as near as possible without touching anything else.

    Names are placed one after the other, those of crowded points first. If there is no free place
    for a name, it gets the one that touches least.

    Args:
        points: Marks of the points.
        bars: Bars of the points, in the same order.
        sizes: Width and height of each name.
        area: One box that holds all names.

    Returns:
        The boxes of the names.
    """
    centres = (points[:, :2] + points[:, 2:]) / 2
    distances = np.linalg.norm(centres[:, None] - centres, axis=2)
    taken = np.concatenate([points, bars])
    placed = np.empty_like(points)
    for own in np.argsort(distances.mean(axis=1), kind="stable"):
        boxes = _list_candidates(centres[own], sizes[own])
        lines = np.stack([_trace(centres[own], box) for box in boxes])
        others = np.delete(taken, [own, own + len(points)], axis=0)  # lines start on their own
        crossed = _find_overlaps(lines.reshape(-1, 4), others).reshape(*lines.shape[:2], -1)
        outside = (boxes[:, :2] < area[:, :2]) | (boxes[:, 2:] > area[:, 2:])
        costs = _TOUCH_COST * _find_overlaps(boxes, taken).sum(axis=1)
        costs += crossed.any(axis=1).sum(axis=1)
        costs += _DISTANCE_COST * np.repeat(_DISTANCES, len(_DIRECTIONS))
        best = int(np.argmin(costs + 1000 * outside.any(axis=1)))
        placed[own] = boxes[best]
        taken = np.concatenate([taken, boxes[[best]], lines[best]])
    return placed


def _list_candidates(centre: NDArray[np.float64], size: tuple[float, float]) -> Boxes:
    """Boxes for a name around a point, the nearest first."""
    half = np.array(size) / 2
    pairs = product(_DISTANCES, _DIRECTIONS)
    centres = [centre + np.sign(way) * (half * np.abs(way) + gap) for gap, way in pairs]
    return np.array([[*(middle - half), *(middle + half)] for middle in centres])


def _trace(start: NDArray[np.float64], box: NDArray[np.float64]) -> Boxes:
    """Places on the line from a point to the nearest point of a name, with some room."""
    end = np.clip(start, box[:2], box[2:])
    places = start + _STEPS * (end - start)
    return np.hstack([places - _ROOM, places + _ROOM])


def _find_overlaps(boxes: Boxes, others: Boxes) -> NDArray[np.bool_]:
    """Whether each box touches each other box."""
    apart = (boxes[:, None, :2] > others[:, 2:]) | (boxes[:, None, 2:] < others[:, :2])
    return np.asarray(~apart.any(axis=2))
