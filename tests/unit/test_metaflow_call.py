from pathlib import Path

import pytest

from aicore_build.errors import FlowError
from aicore_build.metaflow_call import check_options, is_hidden, put_first_on_path


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="none"),
        pytest.param(("--with", "retry", "--config", "c", "f.json"), id="words"),
        pytest.param(("--package-suffixes=.json",), id="with ="),
        pytest.param(("--metadata=service",), id="metadata"),
    ],
)
def test_options_that_are_passed_on(options: tuple[str, ...]) -> None:
    check_options(options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(("run",), "'run' is no option", id="a sub-command"),
        pytest.param(("--datastore", "local"), "--datastore is given", id="a word"),
        pytest.param(("--with=a", "--environment=pypi"), "--environment is given", id="with ="),
    ],
)
def test_options_that_are_refused(options: tuple[str, ...], said: str) -> None:
    with pytest.raises(FlowError, match=said):
        check_options(options)


@pytest.mark.parametrize(
    ("folder", "hidden"),
    [("/a/.b/c", True), ("/a/b/.c", True), ("/a/b.c", False), ("/a/..b", True), ("/", False)],
)
def test_hidden_folders(folder: str, *, hidden: bool) -> None:
    assert is_hidden(Path(folder)) is hidden


def test_first_on_path() -> None:
    environment: dict[str, str] = {}
    put_first_on_path(environment, Path("/a"))
    put_first_on_path(environment, Path("/b"))
    assert environment == {"PYTHONPATH": "/b:/a"}
