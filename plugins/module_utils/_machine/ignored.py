# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of a folder patterns of gitignore's kind leave out. Pure rules, after gitignore(5)."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

_TOKEN = re.compile(r"^\*\*/|/\*\*/|/\*\*$|\*+|\?|\[[!^]?\]?[^]]*\]|\\.|.", re.DOTALL)
_WORDS = {"**/": "(?:.*/)?", "/**/": "/(?:.*/)?", "/**": "/.+", "?": "[^/]"}


@dataclass(frozen=True)
class Rule:
    """One pattern. ``base`` is the folder of its file, relative to the root: empty, or with a slash at its end."""

    pattern: re.Pattern[str]
    negated: bool
    for_folders: bool
    base: str

    def matches(self, path: str, is_folder: bool) -> bool:
        """Whether it speaks of this path, which is relative to the root."""
        if not path.startswith(self.base) or (self.for_folders and not is_folder):
            return False
        return self.pattern.fullmatch(path[len(self.base) :]) is not None


def rules_of(lines: t.Iterable[str], base: str = "") -> tuple[Rule, ...]:
    """The rules in the lines of a file or a list; comments and empty lines have none."""
    return tuple(rule for rule in (_rule(line, base) for line in lines) if rule)


def is_ignored(path: str, is_folder: bool, rules: t.Sequence[Rule]) -> bool:
    """Whether the last rule that speaks of the path leaves it out."""
    last = next((rule for rule in reversed(rules) if rule.matches(path, is_folder)), None)
    return last is not None and not last.negated


def _rule(line: str, base: str) -> Rule | None:
    text = re.sub(r"(?<!\\) +$", "", line.rstrip("\r\n"))
    if not text or text.startswith("#"):
        return None
    negated = text.startswith("!")
    text = text[1:] if negated else text
    for_folders = text.endswith("/")
    text = text[:-1] if for_folders else text
    # A slash at the beginning or inside binds a pattern to the folder of its file.
    anywhere = "" if "/" in text else "(?:.*/)?"
    words = "".join(map(_word, _TOKEN.findall(text[1:] if text.startswith("/") else text)))
    try:
        return Rule(re.compile(anywhere + words, re.DOTALL), negated, for_folders, base)
    except re.error:  # a range that ends before it begins matches nothing
        return None


def _word(token: str) -> str:
    """A part of a pattern as a regular expression."""
    if token in _WORDS:
        return _WORDS[token]
    if token.startswith("*"):
        return "[^/]*"
    if token.startswith("[") and len(token) > 1:
        inner = token[1:-1].replace("[", r"\[")
        return f"(?!/)[^{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]"
    return re.escape(token[1:] if len(token) > 1 and token.startswith("\\") else token)
