"""Text in a box, wrapped by a guess at its width: whoever draws has the font, we do not."""

import re
from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from functions.catalog.shapes import Box
from functions.catalog.view_models import Style

FONT: Final = "Segoe UI, Arial, Helvetica, sans-serif"
FONT_SIZE: Final = 11
LETTER: Final = 0.55  # of the font's size: how wide a letter is, about
MOST_LINES: Final = 200
MOST_LETTERS: Final = 4000
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def lettered(text: str, box: Box, style: Style, *, centred: bool) -> Iterator[str]:
    """As many lines as the box has room for, the last with an ellipsis where there are more."""
    size = min(float(style.font_size or FONT_SIZE), 72.0) * (96 / 72 if style.font_size else 1)
    room = max(1, min(MOST_LINES, int((box.h - 4) / (size * 1.2))))
    lines = wrapped(text, max(1, int((box.w - 8) / (size * LETTER))), room)
    if not lines:
        return
    height = size * 1.2
    top = box.y + (box.h - height * len(lines)) / 2 if centred else box.y + 2
    x, anchor = (box.x + box.w / 2, "middle") if centred else (box.x + 5, "start")
    looks = f' font-size="{size:g}"' + (f" font-family={quoteattr(style.font)}" if style.font else "")
    for word, value in (("bold", ' font-weight="bold"'), ("italic", ' font-style="italic"')):
        looks += value if word in (style.font_style or "") else ""
    looks += ' text-decoration="underline"' if "underline" in (style.font_style or "") else ""
    color = (style.font_color or "#000000")[:7]
    spans = "".join(
        f'<tspan x="{x:g}" y="{top + height * number + size:g}">{escape(line)}</tspan>'
        for number, line in enumerate(lines)
    )
    yield f'<text text-anchor="{anchor}" fill="{color}"{looks}>{spans}</text>'


def wrapped(text: str, width: int, most: int) -> list[str]:
    """Lines of at most `width` letters, `most` of them; a word that is longer than a line is broken."""
    lines: list[str] = []
    for paragraph in _CONTROL.sub("", text.replace("\r", ""))[:MOST_LETTERS].split("\n"):
        line = ""
        for word in paragraph.split():
            while len(word) > width:
                if line:
                    lines.append(line)
                    line = ""
                lines.append(word[:width])
                word = word[width:]
            if line and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}".strip()
        lines.append(line)
        if len(lines) > most:
            break
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1][: max(0, width - 1)]}…"]
    return lines
