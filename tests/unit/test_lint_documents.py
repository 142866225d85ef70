import json
import textwrap
from typing import Any

import pytest

from aicore_build.lint.documents import UnreadableError, read_documents


def read(text: str, name: str = "a.yaml") -> list[Any]:
    return [document.value for document in read_documents(name, textwrap.dedent(text))]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param(text, value, id=text or "empty")
        for text, value in (
            ("1.0", 1.0),
            ("1.0.0", "1.0.0"),
            ('"1.0"', "1.0"),
            ("!!str 1.0", "1.0"),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("12:30", "12:30"),
            ("2023-10-15", "2023-10-15"),
            ("2023-10-15T10:00:00Z", "2023-10-15T10:00:00Z"),
            ("yes", True),
            ("n", False),
            ("Off", False),
            ("true", True),
            ("'true'", "true"),
            ("~", None),
            ("", None),
            ("010", 8),
            ("0x1F", 31),
            ("0b11", 3),
            ("0o17", 15),
            ("1_000", 1000),
            ("-7", -7),
            ("089", 89.0),
            ("=", "="),
        )
    ],
)
def test_scalars_are_as_go_reads_them(text: str, value: object) -> None:
    (document,) = read(f"a: {text}\n")
    assert document == {"a": value}
    assert type(document["a"]) is type(value)


def test_keys_are_text() -> None:
    assert read("{1: a, true: b, 1.5: c, null: d, e: f}") == [
        {"1": "a", "true": "b", "1.5": "c", "null": "d", "e": "f"}
    ]


def test_several_documents_and_empty_ones() -> None:
    documents = read_documents("a.yaml", "---\na: 1\n---\n# nothing\n---\nb: 2\n...\n")
    assert [(d.value, d.number) for d in documents] == [({"a": 1}, 1), ({"b": 2}, 3)]
    assert read("") == []


def test_items_of_a_list_of_kubernetes() -> None:
    text = "kind: List\nitems:\n- {a: 1}\n- b:\n    c: 2\n"
    documents = read_documents("a.yaml", text)
    assert [d.value for d in documents] == [{"a": 1}, {"b": {"c": 2}}]
    assert documents[1].position(("b", "c")) == (5, 5)
    assert read('{"kind": "List", "items": []}', "a.lock.json") == []


def test_anchors_and_merges() -> None:
    text = """
        base: &base {a: 1, b: 2}
        one: {<<: *base, b: 3}
        two: {<<: [*base, {c: 4, a: 5}]}
        """
    (document,) = read(text)
    assert document["one"] == {"a": 1, "b": 3}
    assert document["two"] == {"a": 1, "b": 2, "c": 4}


YAML_FAULTS = [
    pytest.param("a:\n\tb: 1\n", "indented with a tab", (2, 1), id="tab"),
    pytest.param("a: 1\nb: 2\na: 3\n", "the key 'a' is there twice", (3, 1), id="twice"),
    pytest.param("a: [1, 2\nb: 3\n", "no YAML: ", (2, 2), id="bracket"),
    pytest.param("a: .inf\n", "JSON has no number .inf", (1, 4), id="infinite"),
    pytest.param("{[1]: 2}\n", "a key is a list or a table", (1, 2), id="list as key"),
    pytest.param("a: *nobody\n", "no YAML: ", (1, 4), id="alias"),
    pytest.param("a: {<<: 3}\n", "merges what is no table", (1, 9), id="merge"),
    pytest.param("a: &x [*x]\n", "its aliases", (1, 1), id="endless"),
    pytest.param("a: \x01\n", "character", None, id="control character"),
]


@pytest.mark.parametrize(("text", "reason", "position"), YAML_FAULTS)
def test_what_is_no_yaml(text: str, reason: str, position: tuple[int, int] | None) -> None:
    with pytest.raises(UnreadableError) as caught:
        read_documents("a.yaml", text)
    assert reason in caught.value.reason
    assert caught.value.position == position


def test_aliases_that_explode_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(UnreadableError, match="its aliases lead"):
        read_documents("a.yaml", "\n".join(lines))


JSON_FAULTS = [
    pytest.param('{"a": 1,\n "b": }', "no JSON: Expecting value", (2, 7), id="value"),
    pytest.param("", "no JSON", (1, 1), id="empty"),
    pytest.param('{"a": 1} {"b": 2}', "no JSON: Extra data", (1, 10), id="two"),
    pytest.param('{"a": 1,\n "a": 2}', "the key 'a' is there twice", (2, 2), id="twice"),
    pytest.param("a: 1", "no JSON", (1, 1), id="YAML"),
    pytest.param("[" * 100_000, "too deep", None, id="deep"),
]


@pytest.mark.parametrize(("text", "reason", "position"), JSON_FAULTS)
def test_what_is_no_json(text: str, reason: str, position: tuple[int, int] | None) -> None:
    with pytest.raises(UnreadableError) as caught:
        read_documents("a.json", text)
    assert reason in caught.value.reason
    assert caught.value.position == position


def test_no_line_of_the_file_is_in_the_reason() -> None:
    with pytest.raises(UnreadableError) as caught:
        read_documents("a.yaml", "a: [hunter2\npassword: hunter2\n")
    assert "hunter2" not in str(caught.value)


POSITIONS = [
    pytest.param((), (1, 1), id="document"),
    pytest.param(("metadata",), (1, 1), id="table"),
    pytest.param(("metadata", "labels", "a/b.c"), (3, 5), id="key with dots"),
    pytest.param(("metadata", "labels", "missing"), (2, 3), id="missing key"),
    pytest.param(("spec", "templates", 1), (6, 5), id="item"),
    pytest.param(("spec", "templates", 1, "name"), (6, 6), id="in an item"),
    pytest.param(("spec", "templates", 9), (5, 3), id="missing item"),
    pytest.param(("spec", "templates", 0, "x", "y"), (5, 15), id="far below"),
]
TEXT = "metadata:\n  labels:\n    a/b.c: 1\nspec:\n  templates: [{name: a},\n    {name: b}]\n"


@pytest.mark.parametrize(("path", "position"), POSITIONS)
def test_positions(path: tuple[str | int, ...], position: tuple[int, int]) -> None:
    (document,) = read_documents("a.yaml", TEXT)
    assert document.position(path) == position


def test_positions_in_json() -> None:
    text = json.dumps({"a": [{"b": "é"}]}, indent=4, ensure_ascii=False)
    (document,) = read_documents("a.json", text)
    assert document.position(("a", 0, "b")) == (4, 13)


def test_no_position_where_json_is_no_yaml() -> None:
    (document,) = read_documents("a.json", '{"a": "\\ud83d\\ude00"}')
    assert document.value == {"a": "😀"}
    assert document.position(("a",)) in (None, (1, 2))
