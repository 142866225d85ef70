import io
import itertools
import tarfile
from collections.abc import Iterable

import pytest

from aicore_build.layer import MEMBER_TIME, Entry, text_entry, write_tar


def folder(name: str, mode: int = 0o755) -> Entry:
    return Entry(name=name, mode=mode, open=None)


def tar_of(entries: Iterable[Entry]) -> bytes:
    out = io.BytesIO()
    write_tar(out, entries)
    return out.getvalue()


def members(entries: Iterable[Entry]) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tar_of(entries)), mode="r:") as tar:
        return tar.getmembers()


def content(entries: Iterable[Entry], name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(tar_of(entries)), mode="r:") as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


def test_equal_entries_in_any_order_give_equal_bytes() -> None:
    entries = [
        text_entry("b/c", "c"),
        folder("b", 0o777),
        text_entry("a", "é"),
        text_entry("b-", ""),
    ]
    assert len({tar_of(order) for order in itertools.permutations(entries)}) == 1


def test_different_entries_give_different_bytes() -> None:
    base = tar_of([text_entry("a", "x")])
    assert tar_of([text_entry("a", "y")]) != base
    assert tar_of([text_entry("b", "x")]) != base
    assert tar_of([text_entry("a", "x", mode=0o755)]) != base


def test_a_folder_comes_before_its_content() -> None:
    entries = [text_entry("a/b/c", ""), text_entry("a-b", ""), text_entry("a.b", "")]
    assert [member.name for member in members(entries)] == ["a", "a-b", "a.b", "a/b", "a/b/c"]


def test_parents_are_there_with_mode_755_unless_named() -> None:
    found = members([text_entry("a/b/c", ""), folder("a/b", 0o777)])
    assert [(member.name, member.mode, member.isdir()) for member in found] == [
        ("a", 0o755, True),
        ("a/b", 0o777, True),
        ("a/b/c", 0o644, False),
    ]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o777])
def test_modes_are_kept(mode: int) -> None:
    assert members([text_entry("a", "", mode=mode)])[0].mode == mode


def test_the_last_of_two_entries_with_one_name_counts() -> None:
    entries = [text_entry("a", "first"), text_entry("b", ""), text_entry("a", b"last")]
    assert [member.name for member in members(entries)] == ["a", "b"]
    assert content(entries, "a") == b"last"


def test_nothing_of_this_machine_is_in_it() -> None:
    for member in members([text_entry("a/b", "x")]):
        assert member.mtime == MEMBER_TIME
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")


def test_long_names_and_text_beyond_ascii() -> None:
    name = f"{'long/' * 60}name-ü"
    assert content([text_entry(name, "grün")], name) == "grün".encode()
