import pytest

from aicore_build.verify.plain_text import end_of, plain_text


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        pytest.param("plain\n\ttext\n", "plain\n\ttext\n", id="plain"),
        pytest.param("\x1b[1;31mred\x1b[0m", "red", id="colours"),
        pytest.param(
            "\x1b]0;title\x07after\x1b]8;;http://x\x1b\\link", "afterlink", id="title, link"
        ),
        pytest.param("\x1b(Ba\x1b7b\x1b", "ab", id="short, and one that is cut"),
        pytest.param("10 %\r50 %\r100 %\nnext", "100 %\nnext", id="written over"),
        pytest.param("one\r\ntwo\r\n", "one\ntwo\n", id="Windows' line ends"),
        pytest.param("a\0b\x08c\x9bd", "a\ufffdb\ufffdc\ufffdd", id="control characters"),
        pytest.param("a\ud800b", "a\ufffdb", id="half a character"),
        pytest.param("Zürich · 東京 🚀", "Zürich · 東京 🚀", id="beyond ASCII"),
    ],
)
def test_plain_text(output: str, expected: str) -> None:
    assert plain_text(output) == expected
    assert plain_text(output).encode("utf-8")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param(99, ("one\ntwo\nthree\n", 0), id="all of it"),
        pytest.param(10, ("two\nthree\n", 4), id="from a line's begin"),
        pytest.param(9, ("three\n", 8), id="whole lines"),
        pytest.param(3, ("ee\n", 11), id="a line that is too long"),
    ],
)
def test_the_end_of_a_text(limit: int, expected: tuple[str, int]) -> None:
    assert end_of("one\ntwo\nthree\n", limit) == expected


def test_one_long_line_is_read_in_time() -> None:
    assert plain_text("\x1b[" * 200_000) == ""
    assert plain_text("\x1b]" * 200_000) == ""
    assert plain_text("." * 5_000_000 + "\r.") == "."
