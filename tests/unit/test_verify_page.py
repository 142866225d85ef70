import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from aicore_build.verify import page
from aicore_build.verify.page import State, duration, render_page, size, step_state
from aicore_build.verify.report import Outcome, Report, StepRun
from tests.pages import (
    HOSTILE,
    PAGES,
    failed,
    hostile,
    nested_foreach,
    node,
    quick,
    report,
    run,
    two_steps,
)

VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """Tags and attributes of a page; fails where an element isn't closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), attrs
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def values(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(attribute)) is not None]


@pytest.fixture(params=[pytest.param(make(), id=name) for name, make in PAGES.items()])
def any_report(request: pytest.FixtureRequest) -> Report:
    found: Report = request.param
    return found


def text_of(html: str) -> str:
    return " ".join(" ".join(Page(html).text).split())


def test_a_page_is_whole_and_needs_nothing_else(any_report: Report) -> None:
    found = Page(render_page(any_report))
    ids = found.values("id")
    assert len(ids) == len(set(ids))
    links = [*found.values("href"), *found.values("src")]
    assert {link for link in links if not link.startswith("#")} == {"data:,"}
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert {part for names in found.values("aria-labelledby") for part in names.split()} <= set(ids)
    assert not {"script", "iframe", "object", "img", "form"} & {tag for tag, _ in found.tags}
    assert "://" not in render_page(any_report)


def test_equal_reports_give_equal_pages(any_report: Report) -> None:
    assert render_page(any_report) == render_page(replace(any_report))


def test_markup_in_names_messages_and_logs_is_text() -> None:
    html = render_page(hostile())
    assert "<script" not in html
    assert "<img" not in html
    found = Page(html)
    assert not [name for _, attrs in found.tags for name in attrs if name.startswith("on")]
    # Name, title, path, cause, fix, tail, log, note, image, check and finding.
    assert "".join(found.text).count(HOSTILE) >= 15


def test_what_utf_8_has_not_is_no_end_of_the_page() -> None:
    strange = report([node("a\ud800")], [run("a\ud800", 0, 1, output="\x00\ud8ff\x1b[31mred\r\n")])
    html = render_page(strange)
    assert b"\0" not in html.encode("utf-8")
    assert "\ufffd\ufffdred" in html


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(two_steps(), "Passed Every step that ran succeeded", id="full"),
        pytest.param(
            quick(), "Passed The images have what AI Core needs. No step was run.", id="quick"
        ),
        pytest.param(
            failed(),
            "Failed AI Core would not run it: a step failed, 1 error in the workflow template, "
            "1 problem in the images.",
            id="failed",
        ),
    ],
)
def test_the_verdict_is_in_words(made: Report, expected: str) -> None:
    assert expected in text_of(render_page(made))


def test_the_failure_is_explained_and_leads_to_its_log() -> None:
    html = render_page(failed())
    assert "What failed: train-model(0)(0)" in text_of(html)
    assert "may not write to /data/cache" in text_of(html)
    assert "Add `RUN mkdir -p -m 777 /data/cache`" in text_of(html)
    last = next(n for n, r in enumerate(failed().runs, 1) if r.attempt == 1)
    assert f'<a href="#log-{last}">The whole log of train-model(0)(0), attempt 2</a>' in html
    assert "\x1b" not in html


def test_only_failed_logs_are_open() -> None:
    details = [attrs for tag, attrs in Page(render_page(failed())).tags if tag == "details"]
    opened = ["open" in attrs for attrs in details if attrs.get("class") != "passed"]
    assert opened == [run.outcome is Outcome.FAILED for run in failed().runs]


def test_a_step_says_how_it_went() -> None:
    titles = Page(render_page(nested_foreach())).values("aria-label")
    assert (
        "train-model: succeeded after a retry, 6\N{MULTIPLICATION SIGN} · 1 retry, 54.8 s" in titles
    )
    assert "start: succeeded, 2.2 s" in titles
    assert "validate-foreach-regions: a DAG of 4 steps, once for each item of a list" in titles
    assert "evaluate: not run" in Page(render_page(failed())).values("aria-label")


def test_a_step_leads_to_the_log_that_matters() -> None:
    runs = (
        run("a(0)", 0, 1),
        run("a(1)", 0, 1, outcome=Outcome.FAILED, exit_code=1),
        run("a(2)", 0, 1, outcome=Outcome.STOPPED, exit_code=None),
    )
    steps = [
        attrs for tag, attrs in Page(render_page(report([node("a")], runs))).tags if tag == "a"
    ]
    assert [a["href"] for a in steps if (a.get("class") or "").startswith("step ")] == ["#log-2"]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        pytest.param([], State.NOT_RUN, id="none"),
        pytest.param([("a", 0, "succeeded")], State.SUCCEEDED, id="one"),
        pytest.param([("a", 0, "failed"), ("a", 1, "succeeded")], State.RETRIED, id="retried"),
        pytest.param([("a", 1, "succeeded"), ("a", 0, "failed")], State.RETRIED, id="any order"),
        pytest.param([("a", 0, "failed"), ("b", 0, "succeeded")], State.FAILED, id="worst"),
        pytest.param([("a", 0, "stopped"), ("b", 0, "succeeded")], State.STOPPED, id="stopped"),
    ],
)
def test_the_worst_of_the_runs(outcomes: list[tuple[str, int, str]], expected: State) -> None:
    runs: list[StepRun] = [
        run(name, 0, 1, attempt=attempt, outcome=Outcome(outcome))
        for name, attempt, outcome in outcomes
    ]
    assert step_state(runs) is expected


def test_of_a_long_log_the_end_is_kept() -> None:
    output = "".join(f"line {number}\n" for number in range(3_000_000))
    html = render_page(report([node("a")], [run("a", 0, 1, output=output)]))
    assert len(html) < page.LOG_CHARACTERS + 50_000
    assert "line 2999999\n" in html
    kept = html[html.index("<pre>") : html.index("</pre>")].count("line ")
    cut = sum(len(f"line {number}\n") for number in range(3_000_000 - kept))
    assert f"This is the end: {cut:,} characters came before" in html


def test_many_logs_share_what_a_page_may_hold() -> None:
    runs = [run(f"a({number})", 0, 1, output="x" * 90_000 + "\n") for number in range(400)]
    html = render_page(report([node("a")], runs))
    assert len(html) < page.ALL_LOGS_CHARACTERS + 1_000_000


def test_bars_are_to_scale() -> None:
    html = render_page(report([node("a"), node("b", "a")], [run("a", 0, 2.5), run("b", 2.5, 7.5)]))
    assert 'style="left:0.0%;width:25.0%"' in html
    assert 'style="left:25.0%;width:75.0%"' in html
    assert re.findall(r'<span style="left:[\d.]+%">([^<]+)<', html) == [
        "0", "2", "4", "6", "8", "10 s",
    ]  # fmt: skip


def test_a_name_that_is_too_long_is_cut_and_told() -> None:
    name = "a-step-that-has-a-name-of-more-than-24-characters"
    html = render_page(report([node(name)], []))
    assert ">a-step-that-has-a-name-…</text>" in html
    assert f"<title>{name}: not run</title>" in html


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 s"),
        (12.34, "12.3 s"),
        (99.9, "99.9 s"),
        (185.4, "3 min 05 s"),
        (7384, "2 h 03 min"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (1500, "1.5 kB"), (412_345_678, "412 MB"), (1_250_000_000, "1.2 GB")],
)
def test_size(count: int, expected: str) -> None:
    assert size(count) == expected
