import re
from pathlib import Path

import pytest

from tests.readme import FLOWS, README, update, update_flows


def test_readme_says_what_the_program_says() -> None:
    text = README.read_text(encoding="utf-8")
    assert update(text) == text, "run `make readme`"


def test_page_on_flows_says_what_the_program_does() -> None:
    text = FLOWS.read_text(encoding="utf-8")
    assert update_flows(text) == text, "run `make readme`"


@pytest.mark.parametrize("page", [README, *sorted((README.parent / "docs").glob("*.md"))], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
