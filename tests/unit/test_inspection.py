import pytest

from aicore_build.inspection import (
    File,
    Group,
    GroupKind,
    find_secrets,
    inspect_package,
    is_allowed,
    is_metaflows_own,
)
from aicore_build.layer import Entry, text_entry
from aicore_build.secret_scan import Secret, SecretKind

LEAK = "postgres://ada:Tr0ub4dor@db.acme.io/x\n"


def entries(*names: str) -> list[Entry]:
    """Files, each with its own name as content."""
    return [text_entry(name, name) for name in names]


OLD_LAYOUT = ("metaflow/a.py", "metaflow_extensions/b.py", "INFO")
NEW_LAYOUT = (".mf_code/metaflow/a.py", ".mf_install", ".mf_meta/INFO", ".mf_meta/CONFIG")


@pytest.mark.parametrize("layout", [OLD_LAYOUT, NEW_LAYOUT], ids=["2.12", "2.19"])
def test_metaflows_own_files_are_summed_up(layout: tuple[str, ...]) -> None:
    found = inspect_package(entries(*layout, "flow.py", "metaflow_helpers.py"))
    assert found.metaflow_files == len(layout)
    assert found.metaflow_size == sum(map(len, layout))
    assert [file.name for file in found.files] == ["metaflow_helpers.py", "flow.py"]
    assert found.total_files == len(layout) + 2


def test_what_made_it_big() -> None:
    found = inspect_package(
        entries(
            *("venv/lib/python3.11/site-packages/x/y.py", "venv/bin/activate_this.py"),
            *("a/__pycache__/b.py", ".git/hooks/c.py", "explore.ipynb", "data/d.csv", "flow.py"),
        )
    )
    assert [(g.kind, g.path, g.files) for g in sorted(found.groups, key=lambda g: g.kind)] == [
        (GroupKind.CACHE, "a/__pycache__/", 1),
        (GroupKind.DATA, "*.csv", 1),
        (GroupKind.NOTEBOOK, "*.ipynb", 1),
        (GroupKind.VERSION_CONTROL, ".git/", 1),
        (GroupKind.VIRTUAL_ENVIRONMENT, "venv/", 2),
    ]
    assert {file.name for file in found.files} == {"explore.ipynb", "data/d.csv", "flow.py"}


def test_the_largest_is_first() -> None:
    big, small = text_entry("a.py", "x" * 9), text_entry("b.py", "x")
    assert inspect_package([small, big]).files == (
        File(name="a.py", size=9, mode=0o644),
        File(name="b.py", size=1, mode=0o644),
    )
    groups = inspect_package([text_entry("a.csv", "x"), text_entry("a.npy", "xx")]).groups
    assert groups[0] == Group(kind=GroupKind.DATA, path="*.npy", files=1, size=2)


def test_files_that_others_cannot_read() -> None:
    found = inspect_package([text_entry("a.py", "", mode=0o600), text_entry("b.py", "")])
    assert found.unreadable == ("a.py",)


def test_secrets_are_found_in_users_files_and_metaflows_records() -> None:
    names = ("flow.py", "INFO", ".mf_meta/CONFIG", "metaflow/x.py", ".mf_code/y.py")
    found = find_secrets([text_entry(name, LEAK) for name in names])
    assert [secret.file for secret in found] == ["flow.py", "INFO", ".mf_meta/CONFIG"]


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [("conf/a.py", True), ("a.py", True), ("conf/*", True), ("*.yaml", False), ("b.py", False)],
)
def test_a_secret_is_allowed_by_its_files_name(pattern: str, *, allowed: bool) -> None:
    secret = Secret(file="conf/a.py", line=1, kind=SecretKind.TOKEN)
    assert is_allowed(secret, (pattern,)) is allowed


def test_a_module_that_begins_like_metaflow_is_the_users() -> None:
    assert not is_metaflows_own("metaflow_helpers.py")
    assert not is_metaflows_own("INFO.py")
