# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user may have to read stays short: README, Start, Guides and the reference that is written by hand.

``PYTHONPATH=tests python tests/unit/test_docs.py`` lists the pages with their words, as ``wc -w`` counts them.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from tools import playbooks_page

ROOT = Path(__file__).resolve().parents[2]
# For contributors, or generated from code.
NOT_COUNTED = {
    *("docs/architecture.md", "docs/guarantees.md", "docs/performance.md"),
    *("docs/acceptance.md", "docs/api.md", "docs/playbooks.md", "docs/spec.md"),
}
PATTERNS = ("README.md", "docs/*.md", "roles/*/README.md")
# Lower it when pages get shorter; never raise it.
MOST_WORDS = 14_000


def words_by_page() -> dict[str, int]:
    """The number of words of each page, by its path in the repository."""
    files = [file for pattern in PATTERNS for file in sorted(ROOT.glob(pattern))]
    pages = {file.relative_to(ROOT).as_posix(): file for file in files}
    return {name: len(file.read_text().split()) for name, file in pages.items() if name not in NOT_COUNTED}


def test_the_pages_of_users_stay_short() -> None:
    pages = words_by_page()
    assert {"README.md", "docs/first-machine.md", "roles/provision/README.md"} <= pages.keys()
    assert sum(pages.values()) <= MOST_WORDS


def test_the_index_lists_each_page_once() -> None:
    index = ROOT / "docs" / "README.md"
    listed = [(index.parent / link).resolve() for link in re.findall(r"\]\(([^)#]+)\)", index.read_text())]
    pages = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("roles/*/README.md"), *ROOT.glob("*.md")]
    assert sorted(listed) == sorted(page for page in pages if page != index)


def test_the_page_about_releases_knows_whether_there_is_a_key() -> None:
    """A key comes from outside, with the first signed release. From then on its fingerprint must stand there."""
    page = (ROOT / "SECURITY.md").read_text()
    fingerprints = re.findall(r"\b(?:[0-9A-F]{4} *){10}\b", page)
    assert bool(fingerprints) is (ROOT / "release-key.asc").exists() is ("No release is signed yet" not in page)


@pytest.mark.parametrize("tool", [playbooks_page])
def test_a_page_that_is_made_from_code_is_up_to_date(tool: ModuleType) -> None:
    assert tool.PAGE.read_text() == tool.page(), f"python {tool.__file__}"


if __name__ == "__main__":
    for page, number in sorted(words_by_page().items(), key=lambda item: item[1]):
        print(f"{number:6} {page}")
    print(f"{sum(words_by_page().values()):6} of {MOST_WORDS}")
