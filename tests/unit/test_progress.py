import pytest

from aicore_build.progress import DONE, LiveReporter, PlainReporter, Reporter, reporter


def tell(report: Reporter) -> None:
    report.phase("r.io/a:1 [x]", "building")
    report.output("r.io/a:1 [x]", "Step 1/4 [y]")
    report.phase("r.io/a:1 [x]", f"{DONE}: sha256:12")
    report.note("look [z]")


@pytest.mark.parametrize(
    ("verbose", "shown"),
    [
        pytest.param(False, "", id="plain"),
        pytest.param(True, "r.io/a:1 [x] | Step 1/4 [y]\n", id="-v"),
    ],
)
def test_lines_on_stderr(capsys: pytest.CaptureFixture[str], shown: str, *, verbose: bool) -> None:
    with PlainReporter(verbose=verbose) as report:
        tell(report)
    assert capsys.readouterr() == (
        "",
        f"r.io/a:1 [x]: building\n{shown}r.io/a:1 [x]: done: sha256:12\nNote: look [z]\n",
    )


@pytest.mark.parametrize("verbose", [False, True])
def test_a_row_per_image_on_stderr(capsys: pytest.CaptureFixture[str], *, verbose: bool) -> None:
    with LiveReporter(verbose=verbose) as report:
        tell(report)
        report.phase("r.io/b:1", "pushing")
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    (row,) = [line for line in lines if "r.io/a:1 [x]" in line and "|" not in line]
    assert "done: sha256:12" in row
    assert row.lstrip().startswith("✓")
    (other,) = [line for line in lines if "r.io/b:1" in line]
    assert "pushing" in other
    assert "✓" not in other
    assert "Note: look [z]" in lines
    assert ("r.io/a:1 [x] | Step 1/4 [y]" in lines) is verbose


def test_where_stderr_is_no_terminal_lines_are_printed() -> None:
    assert isinstance(reporter(verbose=False), PlainReporter)


def test_on_a_terminal_rows_are_kept_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert isinstance(reporter(verbose=False), LiveReporter)
