"""What a program wrote to its terminal → plain text, as its last screen would show it; pure."""

import re

_ESCAPE = re.compile(
    r"\x1b(?:"
    r"\[[0-?]*[ -/]*[@-~]"  # CSI: colours, the cursor
    r"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC and its like: titles, links
    r"|[ -/]*[0-~]"  # the short ones
    r")?"
)
_CONTROL = {code: "\ufffd" for code in (*range(32), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}
_SURROGATE = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
_UNPRINTABLE = {**_CONTROL, **_SURROGATE}


def plain_text(output: str) -> str:
    """The text without escape sequences, and of a line that was written over, what was last.

    Other control characters, and halves of a character that UTF-8 doesn't have, become U+FFFD.
    """
    text = _ESCAPE.sub("", output)
    if "\r" in text:
        lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
        text = "\n".join(lines)
    return text if text.isascii() and text.isprintable() else text.translate(_UNPRINTABLE)


def end_of(text: str, limit: int) -> tuple[str, int]:
    """The last whole lines within a number of characters, and how many characters come before.

    A last line that is longer than that is cut itself.
    """
    if len(text) <= limit:
        return text, 0
    start = len(text) - limit
    if text[start - 1] != "\n":
        line_end = text.find("\n", start, -1)
        start = line_end + 1 if line_end >= 0 else start
    return text[start:], start
