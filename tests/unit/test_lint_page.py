import re

from aicore_build.lint.rules import RULES
from tests.lint_page import PAGE, update


def test_the_page_says_what_the_rules_say() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert update(text) == text, "run `make readme`"


def test_every_code_has_a_section_that_the_table_leads_to() -> None:
    text = PAGE.read_text(encoding="utf-8")
    codes = [rule.code for rule in RULES]
    assert re.findall(r"^### (\S+)$", text, re.MULTILINE) == codes
    assert re.findall(r"^\| \[(\S+)\]\(#\S+\)", text, re.MULTILINE) == codes
