"""Tasks of a DAG → boxes and edges, from the left to the right: where each is drawn; pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aicore_build.verify.columns import Columns, arrange, middles
from aicore_build.verify.report import Node

LEAF_HEIGHT = 44.0
HEADING = 30.0
"""Height of the line above the boxes in a box."""

PADDING = 16.0
"""Between a box and those in it."""

COLUMN_GAP = 44.0
ROW_GAP = 14.0

EDGE_GAP = 12.0
"""Between two edges that pass by."""

MARGIN = 8.0
"""Around all of it."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A task; lengths are in pixels, from the left and the top of the drawing."""

    node: Node
    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Where it ends."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Where it ends."""
        return self.y + self.height

    @property
    def middle(self) -> float:
        """The height at which edges come and go."""
        return self.y + self.height / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """From a task to a sibling that depends on it."""

    source: str
    target: str

    points: tuple[Point, ...]
    """Level from the first to the second, bent to the third, level to the fourth, and so on."""

    @property
    def path(self) -> str:
        """SVG's path data."""
        (x, y), *rest = self.points
        parts = [f"M{x:g} {y:g}"]
        for number, (next_x, next_y) in enumerate(rest):
            half = (x + next_x) / 2
            bent = f"C{half:g} {y:g} {half:g} {next_y:g} {next_x:g} {next_y:g}"
            parts.append(bent if number % 2 else f"H{next_x:g}")
            x, y = next_x, next_y
        return "".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """All of it."""

    width: float
    height: float

    boxes: tuple[Box, ...]
    """A box comes before those in it."""

    edges: tuple[Edge, ...]


def draw(graph: Sequence[Node], width_of: Callable[[Node], float]) -> Drawing:
    """Place the tasks of a DAG, and inside them those of their own DAGs.

    Args:
        graph: siblings; a dependency that isn't one of them is left out.
        width_of: what a task's text needs, in pixels.
    """
    drawing = _draw(graph, width_of)
    moved = _moved(drawing, MARGIN, MARGIN)
    return replace(moved, width=drawing.width + 2 * MARGIN, height=drawing.height + 2 * MARGIN)


def _draw(graph: Sequence[Node], width_of: Callable[[Node], float]) -> Drawing:
    inner = [_draw(node.inner, width_of) for node in graph]
    columns = arrange(_dependencies(graph))
    widths = _widths(columns, graph, inner, width_of)
    spans = _spans(columns, widths)
    heights = [_height(inside) for inside in inner]
    levels = _levels(columns, heights)
    boxes = [
        Box(
            node=node,
            x=spans[task][0],
            y=levels[task] - heights[task] / 2,
            width=widths[task],
            height=heights[task],
        )
        for task, node in enumerate(graph)
    ]
    contents = [
        _moved(inside, box.x + PADDING, box.y + HEADING)
        for box, inside in zip(boxes, inner, strict=True)
    ]
    bottoms = [*(box.bottom for box in boxes), *levels.values()]  # an edge may be the lowest of all
    return Drawing(
        width=max((right for _, right in spans.values()), default=0.0),
        height=max(bottoms, default=0.0),
        boxes=(*boxes, *(box for content in contents for box in content.boxes)),
        edges=(
            *(_edge(chain, boxes, spans, levels) for chain in columns.chains),
            *(edge for content in contents for edge in content.edges),
        ),
    )


def _dependencies(graph: Sequence[Node]) -> list[list[int]]:
    numbers = {node.name: task for task, node in enumerate(graph)}
    return [[numbers[name] for name in node.dependencies if name in numbers] for node in graph]


def _widths(
    columns: Columns,
    graph: Sequence[Node],
    inner: Sequence[Drawing],
    width_of: Callable[[Node], float],
) -> list[float]:
    """Of each task's box; those of a column that have none inside are alike."""
    widths = [
        max(width_of(node), inside.width + 2 * PADDING if inside.boxes else 0.0)
        for node, inside in zip(graph, inner, strict=True)
    ]
    for column in columns.columns:
        leaves = [task for task in column if task < len(graph) and not inner[task].boxes]
        for task in leaves:
            widths[task] = max(widths[leaf] for leaf in leaves)
    return widths


def _spans(columns: Columns, widths: Sequence[float]) -> dict[int, tuple[float, float]]:
    """Where the column of each item begins and ends."""
    spans: dict[int, tuple[float, float]] = {}
    left = 0.0
    for column in columns.columns:
        right = left + max(widths[item] for item in column if item < len(widths))
        spans.update(dict.fromkeys(column, (left, right)))
        left = right + COLUMN_GAP
    return spans


def _height(inside: Drawing) -> float:
    return inside.height + HEADING + PADDING if inside.boxes else LEAF_HEIGHT


def _levels(columns: Columns, heights: Sequence[float]) -> dict[int, float]:
    """The height of each item's middle."""
    places = sum(map(len, columns.columns)) - len(heights)
    return middles(
        columns,
        heights=[*heights, *[0.0] * places],
        gaps=[*[ROW_GAP] * len(heights), *[EDGE_GAP] * places],
    )


def _edge(
    chain: Sequence[int],
    boxes: Sequence[Box],
    spans: dict[int, tuple[float, float]],
    levels: dict[int, float],
) -> Edge:
    source, *places, target = chain
    points = [(boxes[source].right, levels[source]), (spans[source][1], levels[source])]
    for place in places:
        points += [(x, levels[place]) for x in spans[place]]
    points.append((boxes[target].x, levels[target]))
    return Edge(
        source=boxes[source].node.name, target=boxes[target].node.name, points=tuple(points)
    )


def _moved(drawing: Drawing, x: float, y: float) -> Drawing:
    return replace(
        drawing,
        boxes=tuple(replace(box, x=box.x + x, y=box.y + y) for box in drawing.boxes),
        edges=tuple(
            replace(edge, points=tuple((left + x, top + y) for left, top in edge.points))
            for edge in drawing.edges
        ),
    )
