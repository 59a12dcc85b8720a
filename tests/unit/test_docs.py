# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits and consistency of the pages for users: README, guides, and the reference that is written by hand.

``PYTHONPATH=tests python tests/unit/test_docs.py`` lists the pages with their words, counted as ``wc -w`` does.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from tools import playbooks_page

ROOT = Path(__file__).resolve().parents[2]
# Pages for contributors, or generated from code.
WITHOUT_LIMIT = {
    *("docs/architecture.md", "docs/guarantees.md", "docs/performance.md"),
    *("docs/acceptance.md", "docs/api.md", "docs/playbooks.md", "docs/spec.md"),
}
PATTERNS = ("README.md", "docs/*.md", "roles/*/README.md")
# Only ever lower this limit.
MOST_WORDS = 14_000


def words_by_page() -> dict[str, int]:
    """The number of words of each page, by its path in the repository."""
    files = [file for pattern in PATTERNS for file in sorted(ROOT.glob(pattern))]
    pages = {file.relative_to(ROOT).as_posix(): file for file in files}
    return {name: len(file.read_text().split()) for name, file in pages.items() if name not in WITHOUT_LIMIT}


def test_user_pages_stay_within_word_limit() -> None:
    pages = words_by_page()
    assert {"README.md", "docs/first-machine.md", "roles/provision/README.md"} <= pages.keys()
    assert sum(pages.values()) <= MOST_WORDS


def test_index_lists_each_page_once() -> None:
    index = ROOT / "docs" / "README.md"
    listed = [(index.parent / link).resolve() for link in re.findall(r"\]\(([^)#]+)\)", index.read_text())]
    pages = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("roles/*/README.md"), *ROOT.glob("*.md")]
    assert sorted(listed) == sorted(page for page in pages if page != index)


def test_security_page_agrees_with_existence_of_release_key() -> None:
    """The key is added with the first signed release. From then on the page must show its fingerprint."""
    page = (ROOT / "SECURITY.md").read_text()
    fingerprints = re.findall(r"\b(?:[0-9A-F]{4} *){10}\b", page)
    assert bool(fingerprints) is (ROOT / "release-key.asc").exists() is ("No release is signed yet" not in page)


@pytest.mark.parametrize("tool", [playbooks_page])
def test_generated_page_is_up_to_date(tool: ModuleType) -> None:
    assert tool.PAGE.read_text() == tool.page(), f"python {tool.__file__}"


if __name__ == "__main__":
    for page, number in sorted(words_by_page().items(), key=lambda item: item[1]):
        print(f"{number:6} {page}")
    print(f"{sum(words_by_page().values()):6} of {MOST_WORDS}")
