"""The page of a verification, as Chromium shows it."""

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from aicore_build.verify.page import render_page
from aicore_build.verify.report import Node, Outcome, Report
from tests.pages import PAGES, failed, nested_foreach, report, run
from tests.sandbox.browser import browser

WIDE, NARROW = 1280, 400

RECTANGLES = """
return [...document.querySelectorAll(arguments[0])].map(element => {
    const {left, top, right, bottom} = element.getBoundingClientRect();
    return [left, top, right, bottom];
});
"""

TEXTS_OUTSIDE = """
return [...document.querySelectorAll('.dag .step, .dag .group')].flatMap(step => {
    const frame = step.querySelector('.frame').getBoundingClientRect();
    return [...step.querySelectorAll('text')].filter(text => {
        const {left, top, right, bottom} = text.getBoundingClientRect();
        const inside = left > frame.left && right < frame.right
            && top > frame.top && bottom < frame.bottom;
        return text.textContent && !inside;
    }).map(text => text.textContent);
});
"""

CONTRASTS = """
const luminance = ([r, g, b]) => {
    const linear = part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
    return .2126 * linear(r / 255) + .7152 * linear(g / 255) + .0722 * linear(b / 255);
};
const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
const behind = element => {
    for (; element; element = element.parentElement) {
        const colour = numbers(getComputedStyle(element).backgroundColor);
        if (colour.length === 3 || colour[3] === 1) return colour;
    }
};
const ground = text => {
    if (!(text instanceof SVGElement)) return behind(text);
    const frame = text.closest('.step, .group').querySelector('.frame');
    return numbers(getComputedStyle(frame).fill);
};
const texts = [...document.querySelectorAll('body *')].filter(element =>
    element.checkVisibility() && !element.closest('title, .hidden')
    && [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
return texts.map(text => {
    const {color, fill} = getComputedStyle(text);
    const own = luminance(numbers(text instanceof SVGElement ? fill : color));
    const back = luminance(ground(text));
    const contrast = (Math.max(own, back) + .05) / (Math.min(own, back) + .05);
    return [text.textContent.slice(0, 40), contrast];
});
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("chromium")) as started:
        started.get("about:blank")  # away from the page for new tabs, which loads a lot of its own
        yield started


class Shown:
    """A page in the browser."""

    def __init__(self, chromium: Chrome, path: Path) -> None:
        self.chromium = chromium
        self.path = path

    def show(self, made: Report, *, width: int = WIDE, scheme: str = "light") -> None:
        self.path.write_text(render_page(made), encoding="utf-8")
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.chromium.get(self.path.as_uri())

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401 - as the script has it
        return self.chromium.execute_script(script, *arguments)

    def rectangles(self, selector: str) -> list[tuple[float, float, float, float]]:
        return [tuple(found) for found in self.run(RECTANGLES, selector)]

    def requests(self) -> set[str]:
        """Addresses that were asked for since this was called the last time."""
        events = [
            json.loads(entry["message"])["message"]
            for entry in self.chromium.get_log("performance")
        ]
        return {
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        }

    def is_open(self, log: str) -> bool:
        opened = "return document.querySelector(arguments[0]).closest('details').open"
        return bool(self.run(opened, log))


@pytest.fixture
def shown(chromium: Chrome, tmp_path: Path) -> Shown:
    return Shown(chromium, tmp_path / "page.html")


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_asks_for_nothing(shown: Shown, name: str, width: int) -> None:
    shown.requests()
    shown.show(PAGES[name](), width=width)
    assert shown.chromium.get_log("browser") == []
    assert {url for url in shown.requests() if not url.startswith("data:")} == {shown.path.as_uri()}
    assert shown.run("return window.innerWidth") == width
    assert shown.run("return document.documentElement.scrollWidth") <= width
    # What scrolls sideways is in a box of its own, and that fits.
    assert all(right <= width for _, _, right, _ in shown.rectangles(".panel, section, header"))


def test_a_request_would_be_seen(shown: Shown) -> None:
    shown.show(failed())
    shown.requests()
    shown.path.write_text('<img src="http://registry.example.com/x.png">', encoding="utf-8")
    shown.chromium.get(shown.path.as_uri())
    assert "http://registry.example.com/x.png" in shown.requests()
    assert shown.chromium.get_log("browser") != []


@pytest.mark.parametrize("name", PAGES)
def test_the_dag_is_legible(shown: Shown, name: str) -> None:
    shown.show(PAGES[name]())
    steps = shown.rectangles(".step > .frame")
    assert len(steps) == len(leaves(PAGES[name]().graph))
    for first, second in combinations(steps, 2):
        apart = first[2] < second[0] or second[2] < first[0]
        assert apart or first[3] < second[1] or second[3] < first[1]
    assert shown.run(TEXTS_OUTSIDE) == []
    [drawing] = shown.rectangles(".dag svg")
    for left, top, right, bottom in shown.rectangles(".dag .frame"):
        assert drawing[0] <= left < right <= drawing[2]
        assert drawing[1] <= top < bottom <= drawing[3]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["nested", "failed", "hostile"])
def test_every_text_has_contrast(shown: Shown, name: str, scheme: str) -> None:
    shown.show(PAGES[name](), scheme=scheme)
    contrasts = shown.run(CONTRASTS)
    assert len(contrasts) > 50
    assert [found for found in contrasts if found[1] < 4.5] == []


def test_clicking_a_step_opens_its_log(shown: Shown) -> None:
    shown.show(nested_foreach())
    runs = nested_foreach().runs
    number = next(n for n, run in enumerate(runs, 1) if run.template == "join-regions")
    log = f"#log-{number}"
    assert not shown.is_open(log)
    step = shown.chromium.find_element(By.CSS_SELECTOR, f".step[href='{log}']")
    shown.run("arguments[0].scrollIntoView({inline: 'center', block: 'center'})", step)
    step.click()
    assert shown.is_open(log)
    [(_, top, _, bottom)] = shown.rectangles(log)
    assert 0 < top < bottom
    assert top < 900


def test_clicking_a_run_opens_its_log(shown: Shown) -> None:
    shown.show(nested_foreach(), width=NARROW)
    link = shown.chromium.find_element(By.CSS_SELECTOR, ".timeline a")
    shown.run("arguments[0].scrollIntoView({block: 'center'})", link)
    link.click()
    assert shown.is_open("#log-1")


def test_the_log_of_what_failed_is_open_at_its_end(shown: Shown) -> None:
    long = "".join(f"line {number}\n" for number in range(500))
    bad = run("a", 0, 1, outcome=Outcome.FAILED, exit_code=1, output=long)
    shown.show(
        report([Node(name="a", template="a", dependencies=(), foreach=False, inner=())], [bad])
    )
    assert shown.is_open("#log-1")
    [(_, top, _, bottom)] = shown.rectangles(".window")
    [(_, text_top, _, text_bottom)] = shown.rectangles(".window pre")
    assert bottom - top < 500 < text_bottom - text_top
    assert text_bottom == pytest.approx(bottom, abs=2)


def test_bars_are_to_scale_on_screen(shown: Shown) -> None:
    shown.show(nested_foreach())
    runs = nested_foreach().runs
    bars = shown.rectangles(".bar")
    assert len(bars) == len(runs)
    [left, *_] = shown.rectangles(".ticks")[0]
    scale = (bars[-1][2] - left) / (runs[-1].started + runs[-1].seconds)
    for bar, shown_run in zip(bars, runs, strict=True):
        assert bar[0] - left == pytest.approx(scale * shown_run.started, abs=1.5)
        assert bar[2] - bar[0] == pytest.approx(max(3, scale * shown_run.seconds), abs=1.5)


def test_a_page_of_long_logs_is_shown_in_time(shown: Shown) -> None:
    logs = "".join(f"line {number}\n" for number in range(400_000))
    nodes = [Node(name="a", template="a", dependencies=(), foreach=True, inner=())]
    shown.chromium.set_page_load_timeout(20)
    shown.show(report(nodes, [run(f"a({n})", n, 1, output=logs) for n in range(100)]))
    assert len(shown.rectangles(".logs details")) == 100


def test_the_printed_page_has_everything_on_paper(shown: Shown) -> None:
    shown.show(PAGES["sixty"]())
    shown.chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        shown.chromium.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 760, "height": 1000, "deviceScaleFactor": 1, "mobile": False},
        )
        assert shown.run("return document.documentElement.scrollWidth") <= 760
        [(left, _, right, _)] = shown.rectangles(".dag svg")
        assert 0 <= left < right <= 760
        [(_, top, _, bottom)] = shown.rectangles(".timeline")
        assert bottom - top > 60 * 20
    finally:
        shown.chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def leaves(graph: tuple[Node, ...]) -> list[Node]:
    return [leaf for step in graph for leaf in (leaves(step.inner) if step.inner else [step])]
