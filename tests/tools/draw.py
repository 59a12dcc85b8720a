# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the diagrams in docs/pictures from the text files there (`make pictures`).

A diagram is drawn with the box characters of Unicode, and looks in its file as it does on a page:

- Closed boxes are filled. Text in a box is bright, other text is muted.
- Heavy lines have the colour of money, and so has ``!text!``; ``*text*`` is bold. The marks themselves become spaces.
- Dashed lines (with the round corners) are frames, and fill nothing.
- The first line, up to an empty one, is the title, for those who cannot see the picture.

Each becomes two SVG files, for light and dark pages. Nothing in them comes from elsewhere: no fonts, no scripts.
tests/demo/terminal.py uses the same brush.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
WIDTH, HEIGHT, SIZE = 9, 20, 15
"""Pixels of a character, and of its font."""
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
THEMES = {
    "light": {
        **{"text": "#1f2328", "muted": "#59636e", "line": "#8c959f", "fill": "#f3f6f9", "money": "#b35900"},
        **{"green": "#1a7f37", "cyan": "#1b7c83", "yellow": "#9a6700", "magenta": "#8250df", "frame": "#d1d9e0"},
    },
    "dark": {
        **{"text": "#e6edf3", "muted": "#9198a1", "line": "#656c76", "fill": "#1b2027", "money": "#f0a13a"},
        **{"green": "#3fb950", "cyan": "#39c5cf", "yellow": "#d29922", "magenta": "#bc8cff", "frame": "#3d444d"},
    },
}
ARROWS = {"▶": "l-9 -5v10z", "◀": "l9 -5v10z", "▼": "l-5 -9h10z", "▲": "l-5 9h10z"}
"""From the tip."""
# Where the lines of a character lead: left, right, up, down.
LINES = {
    **{"─": "lr", "│": "ud", "┌": "rd", "┐": "ld", "└": "ru", "┘": "lu"},
    **{"├": "udr", "┤": "udl", "┬": "lrd", "┴": "lru", "┼": "lrud"},
}
LINES |= {"▶": "l", "◀": "r", "▼": "u", "▲": "d", "┠": "udr", "┯": "lrd"}
HEAVY = dict(zip("━┃┏┓┗┛┣┫┳┻╋", LINES, strict=False))
HALF_HEAVY = {"┠": "u", "┯": "l"}
"""A light line leaves a heavy one, that goes on this way."""
DASHED = dict(zip("┄┆╭╮╰╯", LINES, strict=False))


class Canvas:
    """The elements of a picture, in the colours of a theme."""

    def __init__(self, theme: str) -> None:
        self.colours = THEMES[theme]
        self.elements: list[str] = []

    def text(self, column: float, row: float, text: str, colour: str, bold: bool = False) -> None:
        """Write, with the width that the text has in a terminal, whatever font there is."""
        place = f'x="{column * WIDTH:g}" y="{row * HEIGHT + 15:g}" textLength="{len(text) * WIDTH}"'
        weight = ' font-weight="600"' if bold else ""
        spaced = escape(text).replace(" ", "\u00a0")  # else several would become one
        self.elements.append(f'<text {place} fill="{self.colours[colour]}"{weight}>{spaced}</text>')

    def picture(self, columns: float, rows: float, title: str) -> str:
        """The SVG file."""
        width, height = f"{columns * WIDTH:g}", f"{rows * HEIGHT:g}"
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
            f' role="img" font-family="{FONT}" font-size="{SIZE}"><title>{escape(title)}</title>'
        )
        return "\n".join([head, *self.elements, "</svg>", ""])


class Diagram:
    """The characters of a diagram, by row and column."""

    def __init__(self, drawing: str) -> None:
        self.rows = drawing.split("\n")
        self.size = max(map(len, self.rows)), len(self.rows)

    def at(self, column: int, row: int) -> str:
        """The character there, a space outside."""
        inside = 0 <= row < len(self.rows) and 0 <= column < len(self.rows[row])
        return self.rows[row][column] if inside else " "

    def leads(self, column: int, row: int) -> str:
        """Where the lines of the character lead."""
        character = self.at(column, row)
        character = DASHED.get(character, character)
        return LINES.get(HEAVY.get(character, character), "")

    def boxes(self) -> Iterator[tuple[int, int, int, int]]:
        """Left, top, right and bottom of the closed boxes."""
        for top, line in enumerate(self.rows):
            for left in [place for place, character in enumerate(line) if character in "┌┏"]:
                right, bottom = left + 1, top + 1
                while self.leads(right, top)[:2] == "lr":
                    right += 1
                while self.leads(left, bottom)[:2] == "ud":
                    bottom += 1
                if self.at(right, top) in "┐┓" and self.at(right, bottom) in "┘┛" and self.at(left, bottom) in "└┗":
                    yield left, top, right, bottom

    def strokes(self) -> Iterator[tuple[str, str]]:
        """The lines, each with its kind, as long as they run straight on."""
        columns, rows = self.size
        across = [[(column, row) for column in range(columns)] for row in range(rows)]
        down = [[(column, row) for row in range(rows)] for column in range(columns)]
        for places, back, on in [*((each, "l", "r") for each in across), *((each, "u", "d") for each in down)]:
            kind, path = "", ""
            for column, row in [*places, (-1, -1)]:
                leads, character = self.leads(column, row), self.at(column, row)
                heavy = character in HEAVY or HALF_HEAVY.get(character) == back
                now = "heavy" if heavy else "dashed" if character in DASHED else "plain"
                if path and (now != kind or back not in leads):
                    yield kind, path
                    path = ""
                x, y = column * WIDTH + WIDTH / 2, row * HEIGHT + HEIGHT / 2
                if back not in leads and on not in leads:
                    continue
                half = WIDTH / 2 if back == "l" else HEIGHT / 2
                begin, end = (half if back in leads else 0), (half if on in leads else 0)
                kind = now
                if back == "l":
                    path = path.rpartition("H")[0] or f"M{x - begin:g} {y:g}"
                    path += f"H{x + end:g}"
                else:
                    path = path.rpartition("V")[0] or f"M{x:g} {y - begin:g}"
                    path += f"V{y + end:g}"

    def texts(self) -> Iterator[tuple[int, int, str, str]]:
        """Column, row, mark and text of what is written."""
        drawn = "".join([*LINES, *HEAVY, *DASHED])
        for row, line in enumerate(self.rows):
            for found in re.finditer(rf"([!*])([^!*]+)\1|[^\s!*{drawn}]+(?: [^\s!*{drawn}]+)*", line):
                yield found.start() + bool(found[1]), row, found[1] or "", found[2] or found[0]


def draw(source: str, theme: str) -> str:
    """The SVG file of a diagram."""
    title, _empty, drawing = source.rstrip("\n").partition("\n\n")
    diagram, canvas = Diagram(drawing), Canvas(theme)
    boxes = list(diagram.boxes())
    for left, top, right, bottom in boxes:
        place = f'x="{left * WIDTH + WIDTH / 2:g}" y="{top * HEIGHT + HEIGHT / 2:g}"'
        size = f'width="{(right - left) * WIDTH}" height="{(bottom - top) * HEIGHT}"'
        canvas.elements.append(f'<rect {place} {size} fill="{canvas.colours["fill"]}"/>')
    looks = {
        "plain": f'stroke="{canvas.colours["line"]}" stroke-width="1.5"',
        "dashed": f'stroke="{canvas.colours["line"]}" stroke-width="1.5" stroke-dasharray="4 4"',
        "heavy": f'stroke="{canvas.colours["money"]}" stroke-width="2.5"',
    }
    strokes = list(diagram.strokes())
    for kind, look in looks.items():
        if paths := [path for each, path in strokes if each == kind]:
            canvas.elements.append(f'<path d="{"".join(paths)}" fill="none" stroke-linecap="square" {look}/>')
    for row, line in enumerate(diagram.rows):
        for column in [place for place, character in enumerate(line) if character in ARROWS]:
            shift = {"▶": (WIDTH, HEIGHT / 2), "◀": (0, HEIGHT / 2), "▼": (WIDTH / 2, HEIGHT), "▲": (WIDTH / 2, 0)}
            x, y = shift[line[column]]
            tip = f"M{column * WIDTH + x:g} {row * HEIGHT + y:g}{ARROWS[line[column]]}"
            canvas.elements.append(f'<path d="{tip}" fill="{canvas.colours["line"]}"/>')
    for column, row, mark, text in diagram.texts():
        inside = any(left < column < right and top < row < bottom for left, top, right, bottom in boxes)
        colour = "money" if mark == "!" else "text" if inside or mark else "muted"
        canvas.text(column, row, text, colour, bool(mark))
    return canvas.picture(*diagram.size, " ".join(title.split()))


def write(name: str, theme: str, picture: str) -> None:
    """Write the file of a picture."""
    (PICTURES / f"{name}-{theme}.svg").write_text(picture)


def main() -> None:
    """Draw each diagram for each theme."""
    for file in sorted(PICTURES.glob("*.txt")):
        for theme in THEMES:
            write(file.stem, theme, draw(file.read_text(), theme))


if __name__ == "__main__":
    main()
