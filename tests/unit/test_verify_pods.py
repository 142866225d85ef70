import pytest

from aicore_build.verify.pods import KEPT, Output, Pods, StoppedError


def written(*chunks: bytes) -> tuple[list[str], str]:
    """The lines that were shown, and the text that was kept."""
    shown: list[str] = []
    output = Output(shown.append)
    for chunk in chunks:
        output.write(chunk)
    output.end()
    return shown, output.text()


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([b"one\ntwo\n"], ["one", "two"], id="lines"),
        pytest.param([b"o", b"ne\nt", b"wo"], ["one", "two"], id="over chunks, without an end"),
        pytest.param([b"a\n\n", b"\nb\n"], ["a", "", "", "b"], id="empty lines"),
        pytest.param([b"a\r\nb\r", b"\n10 %\r20 %\n"], ["a", "b", "10 %\r20 %"], id="returns"),
        pytest.param([b"100 %\r"], ["100 %"], id="a return at the end"),
        pytest.param(["Zürich 東".encode()[:2], "Zürich 東".encode()[2:]], ["Zürich 東"], id="ü"),
        pytest.param([bytes([b]) for b in "🚀\n".encode()], ["🚀"], id="byte for byte"),
        pytest.param([b"a\xffb\n"], ["a\ufffdb"], id="no text"),
        pytest.param([b"a\xe2\x82"], ["a\ufffd"], id="half a character at the end"),
    ],
)
def test_chunks_are_put_together_to_lines(chunks: list[bytes], lines: list[str]) -> None:
    assert written(*chunks) == (lines, "\n".join(lines))


def test_a_line_is_shown_as_soon_as_it_is_whole() -> None:
    shown: list[str] = []
    output = Output(shown.append)
    output.write(b"one\ntw")
    assert shown == ["one"]
    output.write(b"o\n")
    assert shown == ["one", "two"]


def test_the_last_lines_are_kept_and_all_are_shown() -> None:
    line = b"." * 1023
    shown, text = written(*(b"%d" % (i % 10) + line + b"\n" for i in range(KEPT // 1024 + 3)))
    assert len(shown) == KEPT // 1024 + 3
    first, *kept = text.split("\n")
    assert first == "… 3 lines before are left out"
    assert kept == shown[3:]


def test_just_as_much_as_is_kept_is_left_whole() -> None:
    _, text = written(*[b"." * 1024 + b"\n"] * (KEPT // 1024))
    assert "left out" not in text


def test_a_line_without_an_end_is_bounded() -> None:
    shown, text = written(*[b"x" * 65536] * 64, b"end")
    assert sum(map(len, shown)) == 64 * 65536 + 3
    assert text.endswith("xend")
    assert len(text) < 2 * KEPT


def test_nothing_is_run_after_the_end() -> None:
    pods = Pods()
    with pods:
        pass
    with pytest.raises(StoppedError):
        pods.run(None)  # type: ignore[arg-type] # it is not looked at
