"""The part of docs/lint.md that is made from the rules: `make readme` writes it."""

import re
from pathlib import Path

from aicore_build.lint.rules import RULES

PAGE = Path(__file__).parent.parent / "docs" / "lint.md"


def update(text: str) -> str:
    """The page with the rules as they are now."""
    between = re.compile(r"(<!-- codes: .*? -->\n).*?(<!-- /codes -->)", re.DOTALL)
    assert between.search(text)
    return between.sub(lambda found: f"{found[1]}{_codes()}{found[2]}", text)


def _codes() -> str:
    rows = "".join(
        f"| [{rule.code}](#{rule.code.lower()}) | {rule.severity} | {_cell(rule.title)} |\n"
        for rule in RULES
    )
    sections = "".join(
        f"\n### {rule.code}\n\n"
        f"**{_text(rule.title)}** ({rule.severity})\n\n"
        f"- Why: {_text(rule.why)}\n"
        f"- Fix: {_text(rule.fix)}\n"
        f"- Source: {_text(rule.source)}.\n"
        for rule in RULES
    )
    return f"| Code | Severity | |\n|---|---|---|\n{rows}{sections}"


def _cell(text: str) -> str:
    return _text(text).replace("|", r"\|")


def _text(text: str) -> str:
    """With what Markdown would take for HTML, or GitHub's Jekyll for its own, as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else p.replace("<", r"\<") for p in parts)


if __name__ == "__main__":
    PAGE.write_text(update(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
