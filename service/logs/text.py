"""A foreign log's bytes as text that can do no harm: no colours, no hidden marks, no endless lines."""

from __future__ import annotations

import re

LINE_SHOWN = 2000
"""Bytes of one line that a page shows; the rest is counted."""

# A terminal's orders: CSI (colours, cursor), OSC and the other strings (titles, links), two-character escapes.
_ORDERS = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|\x1b")
_CONTROLS = {code: chr(0x2400 + code) for code in range(0x20) if code != 0x09} | {0x7F: "\u2421"}
# What turns text around or hides in it: a reader must see that it is there.
_HIDDEN = {
    code: f"\u27e8U+{code:04X}\u27e9"
    for code in (
        *range(0x80, 0xA0), 0xAD, 0x061C, 0x180E, *range(0x200B, 0x2010), 0x2028, 0x2029,
        *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC),
        *range(0xE0000, 0xE0080),
    )
}  # fmt: skip
_VISIBLE = _CONTROLS | _HIDDEN


def shown(line: bytes) -> str:
    """One line as harmless text: terminal orders removed, other control and bidi characters made visible.

    Bytes that are no UTF-8 become U+FFFD. A progress bar (parts that end with a carriage return) shows its last
    part. The caller escapes HTML and bounds the line's length.
    """
    plain = _ORDERS.sub(b"", line).rstrip(b"\r")
    last = plain.rpartition(b"\r")[2]
    return last.decode("utf-8", "replace").translate(_VISIBLE)
