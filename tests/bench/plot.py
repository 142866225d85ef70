"""An SVG of the row `embed`: seconds by way and size, as bars on a log scale.

GitHub shows it on white and on near-black, whatever the system prefers: so it has no background,
and one set of colours that can be read on both.
"""

import math
from collections.abc import Iterator, Mapping
from html import escape

WIDTH = 860
LEFT, RIGHT = 190, 90
TOP, BOTTOM = 58, 52
BAR, GAP, GROUP_GAP = 20, 5, 26

TEXT = "#768390"
GRID = "#76839055"
COLOURS = ("#2da44e", "#bf8700", "#388bfd", "#a371f7")
"""In the order of the ways."""

FONT = "-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"

Medians = Mapping[str, Mapping[str, float]]
"""Seconds by way and size in GB."""


def draw(medians: Medians) -> str:
    """Draw it; the first way is the one that the others are compared with."""
    sizes = list(next(iter(medians.values())))
    group = len(medians) * (BAR + GAP) + GROUP_GAP
    height = TOP + len(sizes) * group - GROUP_GAP + BOTTOM
    seconds = [value for times in medians.values() for value in times.values()]
    scale = Scale(min(seconds), max(seconds))
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" font-family="{FONT}" font-size="13" role="img">'
        ),
        f"<title>{escape(describe(medians))}</title>",
        text(0, 20, "Embedding a code package into an image: seconds, log scale", size=16),
        text(0, 40, "by the size of the base image; registry and engine on the same machine"),
        *grid(scale, height),
    ]
    for number, size in enumerate(sizes):
        parts += bars(medians, size, TOP + number * group, scale)
    return "\n".join((*parts, "</svg>\n"))


class Scale:
    """Seconds to pixels, over whole powers of ten."""

    def __init__(self, least: float, most: float) -> None:
        self._first = math.floor(math.log10(least))
        self._last = max(math.ceil(math.log10(most)), self._first + 1)

    @property
    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self._first, self._last + 1)]

    def position(self, seconds: float) -> float:
        part = (math.log10(seconds) - self._first) / (self._last - self._first)
        return LEFT + part * (WIDTH - LEFT - RIGHT)


def grid(scale: Scale, height: int) -> Iterator[str]:
    bottom = height - BOTTOM + 12
    for tick in scale.ticks:
        x = f"{scale.position(tick):.1f}"
        yield f'<path d="M{x} {TOP - 6}V{bottom}" stroke="{GRID}"/>'
        yield text(float(x), bottom + 18, f"{tick:g} s", anchor="middle")


def bars(medians: Medians, size: str, top: int, scale: Scale) -> Iterator[str]:
    ours = next(iter(medians.values()))[size]
    for number, (way, times) in enumerate(medians.items()):
        y = top + number * (BAR + GAP)
        end, baseline = scale.position(times[size]), y + BAR - 5
        label = f"{times[size]:.{2 if times[size] < 10 else 0}f} s"
        if number:
            label += f", {times[size] / ours:.{1 if times[size] < 10 * ours else 0}f} times"
        yield text(LEFT - 8, baseline, way, anchor="end", bold=not number)
        width = f"{end - LEFT:.1f}"
        colour = COLOURS[number % len(COLOURS)]
        yield f'<rect x="{LEFT}" y="{y}" width="{width}" height="{BAR}" rx="2" fill="{colour}"/>'
        yield text(end + 6, baseline, label, bold=not number)
    yield text(0, top + BAR - 5, f"{size} GB", size=15, bold=True)


def text(
    x: float, y: float, content: str, *, size: int = 13, anchor: str = "start", bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    where = f'x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-size="{size}"'
    return f'<text {where} fill="{TEXT}"{weight}>{escape(content)}</text>'


def describe(medians: Medians) -> str:
    """All of it in words, for those who can't see it."""
    return "Seconds to embed, by the base image's size. " + " ".join(
        f"{way}: " + ", ".join(f"{size} GB {value:.2f}" for size, value in times.items()) + "."
        for way, times in medians.items()
    )
