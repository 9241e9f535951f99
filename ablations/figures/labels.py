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

_STEPS = np.linspace(0, 1, 30)
"""Places on the line from a point to its name that are tested."""


def place_labels(
    points: Boxes, sizes: Sequence[tuple[float, float]], *, obstacles: Boxes, area: Boxes
) -> Boxes:
    """Places one name per point, as near as possible without touching anything else.

    Names are placed one after the other. If there is no free place for a name, it gets the one that
    touches least.

    Args:
        points: Marks of the points; names and their lines avoid all of them.
        sizes: Width and height of each name.
        obstacles: Everything else that names avoid, such as bars.
        area: One box that holds all names.

    Returns:
        The boxes of the names.
    """
    taken = np.concatenate([points, obstacles])
    placed = []
    for own, point in enumerate(points):
        centre = (point[:2] + point[2:]) / 2
        boxes = _list_candidates(centre, sizes[own])
        others = np.delete(taken, own, axis=0)  # a line starts on its own point
        lines = np.stack([_trace(centre, box) for box in boxes])
        crossed = _count_overlaps(lines.reshape(-1, 4), others).reshape(len(boxes), -1)
        outside = (boxes[:, :2] < area[0, :2]).any(axis=1) | (boxes[:, 2:] > area[0, 2:]).any(axis=1)
        costs = 3 * _count_overlaps(boxes, taken) + (crossed > 0).sum(axis=1) + 100 * outside
        best = int(np.argmin(costs))
        placed.append(boxes[best])
        taken = np.concatenate([taken, boxes[[best]], lines[best]])
    return np.array(placed)


def _list_candidates(centre: NDArray[np.float64], size: tuple[float, float]) -> Boxes:
    """Boxes for a name around a point, the nearest first."""
    half = np.array(size) / 2
    pairs = product(_DISTANCES, _DIRECTIONS)
    centres = [centre + np.sign(way) * (half * np.abs(way) + gap) for gap, way in pairs]
    return np.array([[*(middle - half), *(middle + half)] for middle in centres])


def _trace(start: NDArray[np.float64], box: NDArray[np.float64]) -> Boxes:
    """Points on the line from a point to the nearest point of a name, as boxes without extent."""
    end = np.clip(start, box[:2], box[2:])
    places = start + _STEPS[:-1, None] * (end - start)
    return np.hstack([places, places])


def _count_overlaps(boxes: Boxes, others: Boxes) -> NDArray[np.int64]:
    """Number of other boxes that each box touches."""
    apart = (boxes[:, None, :2] > others[None, :, 2:]) | (boxes[:, None, 2:] < others[None, :, :2])
    return (~apart.any(axis=2)).sum(axis=1)
