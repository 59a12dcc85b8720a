# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The diagrams are drawn from their text files, and the pages show existing pictures."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tools import draw

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPEN_BOX = """A box: and an arrow

┏━━━━━━┓
┃*buy*┠──▶ !money! & more
┗━━━━━┛ ┆
"""


@pytest.mark.parametrize("source", sorted(draw.PICTURES.glob("*.txt")), ids=lambda source: source.stem)
@pytest.mark.parametrize("theme", draw.THEMES)
def test_diagram_is_up_to_date(source: Path, theme: str) -> None:
    drawn = (draw.PICTURES / f"{source.stem}-{theme}.svg").read_text()
    assert drawn == draw.draw(source.read_text(), theme), "make pictures"


def test_draw_makes_boxes_arrows_and_coloured_texts() -> None:
    closed_box = OPEN_BOX.replace("━━━━━━┓", "━━━━━┓")
    tree = ElementTree.fromstring(draw.draw(closed_box, "light"))
    found = [element.tag.rpartition("}")[2] for element in tree]
    # A rectangle for the box; paths for light, dashed and heavy lines and the tip of the arrow.
    assert found == ["title", "rect", "path", "path", "path", "path", "text", "text", "text"]
    assert tree[0].text == "A box: and an arrow"
    colours = draw.THEMES["light"]
    texts = [(each.text, each.get("fill")) for each in tree if each.text and each.get("fill")]
    texts = [((text or "").replace("\u00a0", " "), colour) for text, colour in texts]
    assert texts == [("buy", colours["text"]), ("money", colours["money"]), ("& more", colours["muted"])]
    assert "<rect" not in draw.draw(OPEN_BOX, "light")  # an open box is not filled


def test_pages_show_each_picture_in_light_and_dark() -> None:
    shown = set()
    for page in PAGES:
        for picture in re.findall("<picture>.*?</picture>", page.read_text(), re.DOTALL):
            themes = dict(re.findall(r'color-scheme: (\w+)\)" srcset="([^"]+)"', picture))
            ((alt, fallback),) = re.findall(r'<img alt="([^"]+)" src="([^"]+)"', picture)
            assert alt and fallback.endswith(themes["light"].removeprefix("docs/"))
            assert themes["dark"] == themes["light"].replace("-light.svg", "-dark.svg")
            shown |= {(page.parent / file).resolve() for file in themes.values()}
    assert shown == set(draw.PICTURES.glob("*.svg"))
