import random
from collections.abc import Iterator, Sequence
from itertools import combinations

import pytest

from aicore_build.verify.drawing import Box, Drawing, draw
from aicore_build.verify.report import Node
from tests.pages import NESTED, node, sixty_steps

SEEDS = range(60)


def width_of(step: Node) -> float:
    return 40.0 + 7 * len(step.name)


def random_dag(rng: random.Random, depth: int = 0) -> list[Node]:
    """Up to 14 tasks, a few of them with DAGs of their own; names are unique in all of it."""
    tasks: list[Node] = []
    for number in range(rng.randint(1, 14 if depth == 0 else 5)):
        name = f"{'t' * rng.randint(1, 12)}-{depth}-{number}-{rng.randrange(10**6)}"
        before = [task.name for task in tasks if rng.random() < 0.25]
        inner = random_dag(rng, depth + 1) if depth < 3 and rng.random() < 0.2 else []
        tasks.append(node(name, *before, foreach=rng.random() < 0.5, inner=inner))
    rng.shuffle(tasks)
    return tasks


@pytest.fixture(
    params=[
        *(pytest.param(random_dag(random.Random(seed)), id=f"dag {seed}") for seed in SEEDS),
        pytest.param(NESTED, id="nested"),
        pytest.param(sixty_steps().graph, id="sixty steps"),
    ]
)
def graph(request: pytest.FixtureRequest) -> Sequence[Node]:
    found: Sequence[Node] = request.param
    return found


def levels(graph: Sequence[Node]) -> Iterator[Sequence[Node]]:
    """The DAG, and those inside of it."""
    yield graph
    for task in graph:
        if task.inner:
            yield from levels(task.inner)


def by_name(drawing: Drawing) -> dict[str, Box]:
    return {box.node.name: box for box in drawing.boxes}


def test_every_task_has_one_box(graph: Sequence[Node]) -> None:
    drawn = [box.node.name for box in draw(graph, width_of).boxes]
    assert sorted(drawn) == sorted(task.name for level in levels(graph) for task in level)


def test_siblings_do_not_overlap(graph: Sequence[Node]) -> None:
    boxes = by_name(draw(graph, width_of))
    for level in levels(graph):
        for first, second in combinations([boxes[task.name] for task in level], 2):
            beside = first.right < second.x or second.right < first.x
            above = first.bottom + 5 < second.y or second.bottom + 5 < first.y
            assert beside or above, (first, second)


def test_boxes_are_in_the_drawing_and_around_their_own(graph: Sequence[Node]) -> None:
    drawing = draw(graph, width_of)
    boxes = by_name(drawing)
    assert min(box.x for box in drawing.boxes) >= 0
    assert min(box.y for box in drawing.boxes) >= 0
    assert max(box.right for box in drawing.boxes) <= drawing.width
    assert max(box.bottom for box in drawing.boxes) <= drawing.height
    for outer in drawing.boxes:
        assert outer.width >= width_of(outer.node)
        for inner in (boxes[task.name] for task in outer.node.inner):
            assert outer.x < inner.x < inner.right < outer.right
            assert outer.y < inner.y < inner.bottom < outer.bottom


def test_each_dependency_is_an_edge_that_goes_forward(graph: Sequence[Node]) -> None:
    drawing = draw(graph, width_of)
    boxes = by_name(drawing)
    expected = {
        (name, task.name) for level in levels(graph) for task in level for name in task.dependencies
    }
    assert {(edge.source, edge.target) for edge in drawing.edges} == expected
    assert len(drawing.edges) == len(expected)
    for edge in drawing.edges:
        xs = [x for x, _ in edge.points]
        assert xs == sorted(xs)
        source, target = boxes[edge.source], boxes[edge.target]
        assert edge.points[0] == pytest.approx((source.right, source.middle), abs=0.1)
        assert edge.points[-1] == pytest.approx((target.x, target.middle), abs=0.1)


def test_edges_pass_between_the_boxes(graph: Sequence[Node]) -> None:
    drawing = draw(graph, width_of)
    boxes = by_name(drawing)
    siblings = {task.name: level for level in levels(graph) for task in level}
    for edge in drawing.edges:
        for (left, y), (right, _) in zip(edge.points[::2], edge.points[1::2], strict=False):
            for box in (boxes[task.name] for task in siblings[edge.source]):
                crosses = box.x < right and left < box.right and box.y < y < box.bottom
                assert not crosses, (edge, box)


def test_edges_are_in_the_drawing_and_in_the_box_around_them(graph: Sequence[Node]) -> None:
    drawing = draw(graph, width_of)
    boxes = by_name(drawing)
    outer = {inner.name: boxes[box.node.name] for box in drawing.boxes for inner in box.node.inner}
    for edge in drawing.edges:
        around = outer.get(edge.source)
        top, bottom = (around.y, around.bottom) if around else (0.0, drawing.height)
        assert all(top < y < bottom for _, y in edge.points)


def test_equal_dags_are_drawn_alike(graph: Sequence[Node]) -> None:
    assert draw(graph, width_of) == draw(tuple(graph), width_of)


def test_a_chain_is_a_straight_line() -> None:
    drawing = draw([node("a"), node("b", "a"), node("c", "b")], width_of)
    assert len({box.middle for box in drawing.boxes}) == 1
    assert drawing.edges[0].path.startswith("M55 30H55C")


def test_a_long_edge_goes_past_what_it_skips() -> None:
    drawing = draw([node("a"), node("b", "a"), node("c", "a", "b")], width_of)
    boxes = by_name(drawing)
    [past] = [edge for edge in drawing.edges if (edge.source, edge.target) == ("a", "c")]
    assert len(past.points) == 5
    assert not boxes["b"].y <= past.points[2][1] <= boxes["b"].bottom


@pytest.mark.parametrize(
    ("graph", "edges"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([node("a", "elsewhere")], [], id="unknown"),
        pytest.param([node("a", "b"), node("b", "a")], [("a", "b")], id="circle"),
        pytest.param([node("a", "a")], [], id="itself"),
        pytest.param([node("a"), node("b", "a", "a")], [("a", "b")], id="twice"),
    ],
)
def test_what_no_workflow_may_have(graph: list[Node], edges: list[tuple[str, str]]) -> None:
    drawing = draw(graph, width_of)
    assert [(edge.source, edge.target) for edge in drawing.edges] == edges
    assert len(drawing.boxes) == len(graph)


def test_a_fan_out_is_as_high_as_it_has_to_be() -> None:
    fan = [node("start"), *(node(f"s{n}", "start") for n in range(40))]
    drawing = draw(fan, width_of)
    assert drawing.height == pytest.approx(40 * 44 + 39 * 14 + 16)
    boxes = by_name(drawing)
    assert boxes["start"].middle == pytest.approx(drawing.height / 2, abs=0.1)
