"""The parts of the documentation that are made from the program: `make readme` writes them."""

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import click
from click.testing import CliRunner

from aicore_build import cli
from aicore_build.features import as_table
from aicore_build.settings import Settings, key_of

README = Path(__file__).parent.parent / "README.md"
FLOWS = README.parent / "docs" / "flows.md"


def update(text: str) -> str:
    """The README with these parts as they are now."""
    parts = {"help": _help(), "settings": _settings(), "exit codes": _exit_codes()}
    return _replace(text, parts)


def update_flows(text: str) -> str:
    """The page on flows with its table as it is now."""
    return _replace(text, {"features": f"{as_table()}\n"})


def _replace(text: str, parts: Mapping[str, str]) -> str:
    for name, content in parts.items():
        between = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        assert between.search(text), name
        text = between.sub(rf"\1{content.replace(chr(92), chr(92) * 2)}\2", text)
    return text


def _help() -> str:
    context = click.Context(cli.main)
    commands = [cli.main.get_command(context, name) for name in cli.main.list_commands(context)]
    rows = "".join(f"| `{c.name}` | {c.get_short_help_str(200)} |\n" for c in commands if c)
    text = CliRunner().invoke(cli.prod, ["--help"], prog_name="aicore-build prod").output
    own = text[text.index("Options:") : text.index("  --flow")]
    return f"| Command | |\n|---|---|\n{rows}\nOf `prod`:\n\n```text\n{own}```\n"


def _settings() -> str:
    rows = "".join(
        f"| `{key_of(field.name)}` | {'yes' if field.metadata['flag'] else ''} "
        f"| {_escape(field.metadata['help'])} |\n"
        for field in fields(Settings)
    )
    return f"| Setting | Flag | |\n|---|---|---|\n{rows}"


def _exit_codes() -> str:
    found = re.findall(r"^ *(\d+)  (.+)$", cli.EXIT_CODES, re.MULTILINE)
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in found)
    return f"| Code | Meaning |\n|---|---|\n{rows}"


def _escape(text: str) -> str:
    return re.sub(r"(<[^>]+>)", r"`\1`", text).replace("|", r"\|")


if __name__ == "__main__":
    for page, update_page in ((README, update), (FLOWS, update_flows)):
        page.write_text(update_page(page.read_text(encoding="utf-8")), encoding="utf-8")
