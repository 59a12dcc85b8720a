# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A survey that AWX has already: which of its questions a newer version of the collection changes."""

from __future__ import annotations

import typing as t

from .._text import items_of, text_of

Question = t.Mapping[str, t.Any]
Survey = t.Mapping[str, t.Any]
# What a question accepts; its other fields are texts.
_LIMITS = ("type", "choices", "required", "min", "max", "default")


def merged_survey(
    ours: Survey, asked: t.Sequence[Question], earlier: t.Mapping[str, t.Mapping[str, list[t.Any]]]
) -> dict[str, t.Any]:
    """The ``survey`` to write, and a text about what an operator has changed in our questions, which is ``kept``.

    ``asked``: the questions that AWX has. ``earlier``: values of our earlier versions, by variable and field, which the
    newest ones replace, as are all texts. An operator's own questions stay, and so does the order.
    """
    own = {question["variable"]: question for question in ours.get("spec", ())}
    edits = {
        question["variable"]: _edits(own[question["variable"]], question, earlier.get(question["variable"], {}))
        for question in asked
        if question["variable"] in own
    }
    spec = {question["variable"]: question for question in asked}
    spec |= {name: _merged(question, spec.get(name), edits.get(name, {})) for name, question in own.items()}
    kept = [
        f"{name} keeps {field} {_plain(value)!r} instead of {_plain(own[name].get(field))!r}"
        for name, edited in edits.items()
        for field, value in edited.items()
    ]
    way = f". {'; '.join(kept)}. To replace it, delete the question in AWX, and run this again."
    return {"survey": {**ours, "spec": list(spec.values())} if own else {}, "kept": way if kept else ""}


def _edits(ours: Question, asked: Question, earlier: t.Mapping[str, list[t.Any]]) -> Question:
    """The limits that none of our versions had, so that an operator has set them."""
    known = {field: [ours.get(field), *earlier.get(field, ())] for field in _LIMITS}
    return {field: asked.get(field) for field in _LIMITS if _plain(asked.get(field)) not in map(_plain, known[field])}


def _merged(ours: Question, asked: Question | None, edits: Question) -> Question:
    """Our question with an operator's limits; as AWX has it if nothing differs, since its forms write other types."""
    merged = {**ours, **edits}
    if merged.get("choices") and _plain(merged.get("default")) not in _plain(merged["choices"]).split("\n"):
        merged["default"] = ""  # AWX refuses a default that is no choice
    is_same = asked and all(_plain(asked.get(field)) == _plain(value) for field, value in merged.items())
    return asked if asked and is_same else merged


def _plain(value: t.Any) -> str:
    return "\n".join(map(text_of, items_of(value)))
