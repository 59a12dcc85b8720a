# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says which links of a built site lead nowhere within it: ``python check_links.py FOLDER``. It needs no network.

Links, pictures, styles and scripts are looked at, files and anchors. What leads to other sites is not followed. Of the
pages as Markdown, and of llms.txt, the links to other such pages are looked at.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors of a page, and the links in it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each tag that begins."""
        for name, value in attrs:
            if name == "id" or (name == "name" and tag == "a"):
                self.anchors.add(value or "")
            elif name in ("href", "src"):
                self.links.add(value or "")
            elif name == "srcset":
                self.links |= {each.split()[0] for each in (value or "").split(",")}


def dead(site: Path) -> list[str]:
    """The links that lead nowhere, each with its page."""
    pages = {file.resolve(): Page(file) for file in sorted(site.rglob("*.html"))}
    found = []
    for file, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            anchor = unquote(parts.fragment)
            if parts.scheme or parts.netloc:
                continue
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].anchors):
                found.append(f"{file.relative_to(site.resolve())}: {link}")
    for file in [*sorted(site.rglob("*.md")), site / "llms.txt"]:
        links = re.findall(r"\]\(([^):#]+\.md)[#)]", file.read_text())
        found += [f"{file.relative_to(site)}: {link}" for link in links if not (file.parent / link).is_file()]
    if not pages:
        found.append(f"{site} has no pages")
    return found


if __name__ == "__main__":
    lines = dead(Path(sys.argv[1]))
    print("\n".join(lines) or "All links within the site lead somewhere.")
    sys.exit(1 if lines else 0)
