from typing import Any

import pytest

from aicore_build.changes import (
    Change,
    Input,
    compare_files,
    compare_inputs,
    fingerprint_files,
    library_name,
)
from aicore_build.layer import text_entry

DEV: dict[str, Any] = {
    "variant": "dev",
    "layout": 2,
    "platform": "linux/amd64",
    "bases": {"python:3.11-slim": f"sha256:{'1' * 64}"},
    "requirements": ["boto3", "pandas>=2", "t[x]==1"],
    "apt": ["git"],
    "dockerfile": "sha256:d1",
    "context": "sha256:c1",
}
OWN = {**DEV, "requirements": [], "apt": []}
PROD = {"variant": "prod", "layout": 2, "builder": "docker", "base": "b1", "package": "a" * 40}


def said(old: dict[str, Any], **new: object) -> list[str]:
    return [str(change) for change in compare_inputs(old, {**old, "context": "sha256:c2", **new})]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        pytest.param({"platform": "linux/arm64"}, "platform: linux/amd64 → linux/arm64", id="p"),
        pytest.param(
            {"bases": {"python:3.11-slim": f"sha256:{'2' * 64}"}},
            "base image python:3.11-slim: sha256:111111111111… → sha256:222222222222…",
            id="base",
        ),
        pytest.param(
            {"requirements": [*DEV["requirements"], "numpy"]}, "library numpy added", id="added"
        ),
        pytest.param({"requirements": ["boto3", "t[x]==1"]}, "library pandas removed", id="gone"),
        pytest.param(
            {"requirements": ["boto3", "Pandas>=2.1", "t[x]==1"]},
            "library pandas: pandas>=2 → Pandas>=2.1",
            id="changed",
        ),
        pytest.param(
            {"requirements": ["pandas>=2", "boto3", "t[x]==1"]},
            "library: their order changed",
            id="order",
        ),
        pytest.param(
            {"requirements": "sha256:1"},
            "library: some changed; they are too many for the image's label",
            id="too many",
        ),
        pytest.param(
            {"apt": ["git", "jq"], "dockerfile": "sha256:d2"}, "apt package jq added", id="apt"
        ),
        pytest.param({"dockerfile": "sha256:d2"}, "Dockerfile changed", id="Dockerfile"),
        pytest.param({}, "build context changed", id="context"),
        pytest.param({"layout": 3}, "aicore-build: another version of it made the image", id="l"),
        pytest.param(
            {"more": 1, "context": "sha256:c1"}, "aicore-build: it records something else", id="m"
        ),
    ],
)
def test_each_input_of_a_dev_image_is_named_alone(new: dict[str, Any], expected: str) -> None:
    assert said(DEV, **new) == [expected]


def test_own_dockerfile_with_another_base_is_named_too() -> None:
    assert said(OWN, bases={"debian:12": "sha256:3"}, dockerfile="sha256:d2") == [
        "base image debian:12 added",
        "base image python:3.11-slim removed",
        "Dockerfile changed",
    ]


def test_all_that_changed_is_named() -> None:
    assert said(DEV, platform="x", requirements=["boto3", "t[x]==1"], apt=[]) == [
        "platform: linux/amd64 → x",
        "library pandas removed",
        "apt package git removed",
    ]


def test_equal_inputs_have_no_changes() -> None:
    assert compare_inputs(DEV, dict(DEV)) == ()


@pytest.mark.parametrize(
    ("key", "after", "expected"),
    [
        ("builder", "registry", "builder: docker → registry"),
        ("base", "b2", "dev image: b1 → b2"),
        ("package", "b" * 40, "code package: aaaaaaaaaaaa… → bbbbbbbbbbbb…"),
    ],
)
def test_each_input_of_a_prod_image(key: str, after: str, expected: str) -> None:
    assert [str(change) for change in compare_inputs(PROD, {**PROD, key: after})] == [expected]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Ruamel.yaml_x >= 1", "ruamel-yaml-x"),
        ("t[x,y]==1; python_version < '3'", "t"),
        ("pkg @ https://example.com/pkg.whl", "pkg"),
        ("--index-url https://example.com", "--index-url https://example.com"),
        ("git+https://example.com/a.git", "git+https://example.com/a.git"),
    ],
)
def test_names_of_libraries(line: str, name: str) -> None:
    assert library_name(line) == name


def test_files_that_differ() -> None:
    old = [text_entry(f"home/{name}", name) for name in ("a.py", "b.py", "c.py", "metaflow/x.py")]
    new = [
        text_entry("home/a.py", "a.py", mode=0o755),
        text_entry("home/b.py", "other"),
        text_entry("home/d.py", ""),
        text_entry("elsewhere/e.py", ""),
    ]
    changes = compare_files(fingerprint_files(old, "home"), fingerprint_files(new, "home"))
    assert [str(change) for change in changes] == [
        "file a.py changed",
        "file b.py changed",
        "file c.py removed",
        "file d.py added",
        "file: Metaflow's own: metaflow/x.py",
    ]
    assert [str(change) for change in compare_files({"a": "1"}, {"a": "1"})] == [
        "file: none differs, only their order, owners or modes"
    ]


def test_a_change_as_json() -> None:
    change = Change(input=Input.LIBRARY, name="pandas", after="pandas>=2")
    assert change.as_json() == {
        "input": "library",
        "name": "pandas",
        "before": None,
        "after": "pandas>=2",
        "note": None,
    }
