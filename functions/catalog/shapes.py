"""Where a line meets a box. Pixels, from the top left corner."""

from typing import NamedTuple

Spot = tuple[float, float]


class Box(NamedTuple):
    x: float
    y: float
    w: float
    h: float


def middle_of(box: Box) -> Spot:
    return box.x + box.w / 2, box.y + box.h / 2


def edge_of(box: Box, towards: Spot) -> Spot:
    """Where a line to `towards` leaves the box: straight up or down, left or right where that is beside it, else on
    the way from its middle; the middle for what is inside."""
    x, y = towards
    across, down = box.x <= x <= box.x + box.w, box.y <= y <= box.y + box.h
    if across and down:
        return middle_of(box)
    if across:
        return x, box.y if y < box.y else box.y + box.h
    if down:
        return box.x if x < box.x else box.x + box.w, y
    cx, cy = middle_of(box)
    dx, dy = x - cx, y - cy
    scale = min(box.w / 2 / abs(dx), box.h / 2 / abs(dy))
    return cx + dx * scale, cy + dy * scale
