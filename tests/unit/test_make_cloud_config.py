# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How cloud-init's schema is read. That the file is made of it, tests/e2e/test_boot.py sees: there cloud-init is."""

from __future__ import annotations

from typing import Any

import pytest

from tools import make_cloud_config as tool

USER = {"type": "object", "properties": {"name": {"type": "string"}}, "oneOf": [{"required": ["name"]}, {}]}
SCHEMA: dict[str, Any] = {
    "$defs": {
        "cc_users": {"properties": {"users": {"type": ["string", "array"], "items": {"$ref": "#/$defs/user"}}}},
        "cc_certs": {"properties": {"certs": {"allOf": [{"$ref": "#/$defs/certs"}, {"deprecated": True}]}}},
        "cc_host": {"properties": {"host": {"type": "string"}, "list": {"type": "array", "items": {"type": "null"}}}},
        "cc_etc": {"properties": {"host": {"type": "boolean"}}},
        "certs": {"type": "object"},
        "user": {"oneOf": [{"type": "boolean"}, USER]},
    },
    "allOf": [{"$ref": f"#/$defs/cc_{name}"} for name in ("users", "certs", "host", "etc")],
    "properties": {"users": {}, "certs": {}, "host": {}, "list": {}, "any": {}},
}


@pytest.mark.parametrize(
    ("place", "kinds"),
    [
        ("users", ("text", "a list")),
        ("users[]", ("true or false", "a mapping")),
        ("users[].name", ("text",)),
        ("certs", ("a mapping",)),
        ("host", ("text", "true or false")),
        ("list[]", ("nothing",)),
    ],
)
def test_a_type_is_found_wherever_the_schema_keeps_it(place: str, kinds: tuple[str, ...]) -> None:
    assert tool.Schema(SCHEMA).fits(place) == kinds


@pytest.mark.parametrize("place", ["any", "nowhere", "host[]", "users[].other", "certs.other"])
def test_a_place_that_the_schema_does_not_know_is_an_error(place: str) -> None:
    with pytest.raises(ValueError, match="no type"):
        tool.Schema(SCHEMA).fits(place)


def test_what_one_of_the_choices_requires_is_needed() -> None:
    assert [place for place in ("users", "users[]", "users[].name") if tool.Schema(SCHEMA).needs(place)] == [
        "users[].name"
    ]


def test_all_tables_are_about_the_same_places() -> None:
    places = {*tool.STOPS, *tool.GOES_ON.split()}
    assert not tool.STOPS.keys() & set(tool.GOES_ON.split())
    assert {*tool.EMPTY.split(), *tool.LOOKS} <= places
