# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that are looked up against Ansible's own way, on likely and on unlikely options.

Both load the same configuration and the same machines, as the commands do. The inventories must not differ, and where
one way fails the other must, with the same message.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import ansible.plugins.inventory
import pytest
import responses
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.inventory import Constructable
from ansible.plugins.loader import inventory_loader
from hypothesis import example, given, settings
from hypothesis import strategies as st

from samples import BASE, resource
from test_resources import COMMON, collections

assert collections  # the fixture, for this module too
pytestmark = pytest.mark.core

# Parts of names: fields of a resource, keys in them, attributes of dict, str and list, and words of Jinja2.
WORDS = (
    *("access", "external_ip", "name", "spec", "status", "note", "tags", "a", "b", "deep"),
    *("items", "keys", "get", "values", "upper", "format", "append", "count", "_a", "__class__"),
    *("range", "lookup", "true", "none", "not", "if", "self", "result", "omit", "vars", "None", "True", "and", "loop"),
)
JINJA_WORDS = ("and", "else", "false", "if", "in", "is", "none", "not", "or", "self", "true", "False", "None", "True")
# Prefixes that make such words out of the fields on the right of them.
PREFIXES = ("supply_", "supply_", "supply_", "r", "n", "t", "lo", "sel", "_x", "o")
SPLIT = ("ange", "one", "ot", "rue", "okup", "op", "f", "mit", "x")
TEXTS = (
    *(
        "",
        "a",
        "h100",
        "two words",
        "ä-ö",
        "-",
        "7",
        "0x1",
        "1.5",
        "true",
        "True",
        "False",
        "None",
        "null",
        "\n",
        "a\n",
    ),
    *("{{ 7*7 }}", "{% if", "{a: 1}", "{'a': 1}", "[1, 2]", "[x", '["a"]', "{# c #}", "}}", "a\\nb", "\\", "'a'", "("),
    *("#jinja2: variable_start_string: '[['\n[[ 7 ]]", "supply_name", "range", "trainer"),
)
SCALARS = (*TEXTS, None, True, False, 0, 7, -1, 1.5, 0.0, 10**20)
VALUES = st.recursive(
    st.sampled_from(SCALARS),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.sampled_from(WORDS + TEXTS), parts, max_size=3),
    max_leaves=6,
)
FIELDS = st.dictionaries(st.sampled_from((*WORDS, *SPLIT)), VALUES, max_size=6)


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Options, the fields of a resource, extra variables."""
    prefix, fields = draw(st.sampled_from(PREFIXES)), draw(FIELDS)
    known = [prefix + name for name in (*fields, "name", "access", "status")]
    first = st.sampled_from((*known, *known, *known, "ansible_host", "composed", "group_names", *WORDS))
    dotted = st.builds(
        lambda name, parts: ".".join((name, *parts)), first, st.lists(st.sampled_from(WORDS), max_size=2)
    )
    others = st.sampled_from(
        ("", " ", "7", "a.", ".a", "a..b", "a-b", "a | upper", "'a'", f"{prefix}name | upper", "ä", "a\n")
    )
    keys = dotted | dotted | dotted | others
    entry = st.fixed_dictionaries(
        {"key": keys | st.sampled_from(SCALARS)},
        optional={
            "prefix": st.sampled_from(TEXTS),
            "separator": st.sampled_from(("_", "", "-", "x")),
            "default_value": st.sampled_from(("", "none", "x y")),
            "trailing_separator": st.booleans(),
            "parent_group": st.sampled_from(
                ("", "all_of_them", "{{ " + prefix + "name }}", "{{ nothing }}", "a b", "supply")
            ),
        },
    )
    options = draw(
        st.fixed_dictionaries(
            {"hostvars_prefix": st.just(prefix), "strict": st.booleans()},
            optional={
                "compose": st.dictionaries(
                    st.sampled_from(("composed", "other", f"{prefix}name", f"{prefix}spec")),
                    keys | st.sampled_from(SCALARS),
                    max_size=2,
                ),
                "keyed_groups": st.lists(entry, min_size=1, max_size=3),
                "groups": st.dictionaries(st.sampled_from(("g", "h")), keys, max_size=1),
                "leading_separator": st.booleans(),
                "use_extra_vars": st.booleans(),
            },
        )
    )
    return (
        options,
        fields,
        draw(st.just({}) | st.dictionaries(st.sampled_from((*known, "composed")), VALUES, max_size=2)),
    )


@contextlib.contextmanager
def constructable() -> Iterator[None]:
    """Ansible's own way in place of ours."""
    plugin = type(inventory_loader.get("compute_index.supply.resources"))
    with mock.patch.object(plugin, "_compose", Constructable._compose):
        yield


def load(options: dict[str, Any], machines: list[dict[str, Any]], extra: dict[str, Any]) -> str:
    """Groups, hosts and variables as the commands would have them; in place of these the message of a failure."""
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        path = Path(folder, "a.supply.yml")
        path.write_text(yaml.safe_dump({**COMMON, **options}))
        with (
            responses.RequestsMock(assert_all_requests_are_fired=False) as api,
            mock.patch.object(ansible.plugins.inventory, "load_extra_vars", lambda _loader: dict(extra)),
        ):
            api.get(f"{BASE}/resources", json=machines)
            try:
                inventory = InventoryManager(DataLoader(), sources=[str(path)])
            except SystemExit:
                # Without warnings, which Ansible prints only the first time.
                return re.sub(r"\s+", "", said.getvalue().replace(folder, "").partition("[ERROR]")[2])
    groups = {name: (members(group), members(group, "child_groups")) for name, group in inventory.groups.items()}
    found = groups, {name: kinds(host.vars) for name, host in inventory.hosts.items()}
    # Where a method becomes a name, before ansible-core 2.19, its address in memory is a part of it.
    return re.sub(r"0x[0-9a-f]{6,}", "0x", repr(found))


def members(group: Any, kind: str = "hosts") -> list[str]:
    return [member.name for member in getattr(group, kind)]


def kinds(value: Any) -> Any:
    """A value with the name of the type of each of its parts; that Ansible has subclasses makes no difference to it."""
    if isinstance(value, dict):
        return {str(key): kinds(part) for key, part in value.items() if key not in ("inventory_file", "inventory_dir")}
    if isinstance(value, list):
        return [kinds(part) for part in value]
    kind = next(kind for kind in (bool, int, float, str, type(None)) if isinstance(value, kind))
    # Before ansible-core 2.19 a text is unsafe by a mark; where no template is in it, that makes no difference either.
    marked = isinstance(value, str) and ("{" in value or value.startswith("#")) and hasattr(value, "__UNSAFE__")
    return kind.__name__, json.dumps(value), marked


@example(({"keyed_groups": [{"key": "supply_spec.items"}], "strict": True}, {"spec": {"items": "x"}}, {}))
@example(({"keyed_groups": [{"key": "supply_note", "parent_group": "{{ supply_name }}"}]}, {"note": "x"}, {}))
@example(({"compose": {"supply_name": "supply_status"}, "keyed_groups": [{"key": "supply_name"}]}, {}, {}))
@example(({"keyed_groups": [{"key": "supply_name"}], "use_extra_vars": True}, {}, {"supply_name": "other"}))
@example(
    ({"keyed_groups": [{"key": "supply_spec.a.b", "default_value": "x"}], "strict": False}, {"spec": {"a": None}}, {})
)
@given(cases())
@settings(max_examples=200)
def test_a_name_that_is_looked_up_is_what_ansible_makes_of_it(case: Any) -> None:
    check(*case)


def check(options: dict[str, Any], fields: dict[str, Any], extra: dict[str, Any]) -> str:
    machines = [resource(f"{0:036}", **fields), resource(f"{1:036}", name="second", status="paused")]
    ours = load(options, machines, extra)
    with constructable():
        assert load(options, machines, extra) == ours
    return ours


@pytest.mark.parametrize("path", ["supply_v{}", "supply_spec.v{}"])
def test_a_value_that_is_looked_up_is_what_ansible_makes_of_it(path: str) -> None:
    values = {f"v{number}": value for number, value in enumerate((*SCALARS, ["a"], {"a": 1}, [], {}))}
    keys = [path.format(number) for number in range(len(values))]
    options = {
        "compose": {f"c{number}": key for number, key in enumerate(keys)},
        # Before ansible-core 2.19 such a text is a boolean, which is an error.
        "keyed_groups": [
            {"key": key, "prefix": f"g{number}"}
            for number, (key, text) in enumerate(zip(keys, TEXTS, strict=False))
            if text not in ("True", "False")
        ],
    }
    found = check(options, {**values, "spec": values}, {})
    assert "'c2': ('str', '\"h100\"', False)" in found and "'g2_h100': (['trainer'], [])" in found


@pytest.mark.parametrize("word", [*JINJA_WORDS, "range", "lookup", "omit", "vars", "result", "loop"])
def test_a_variable_that_is_called_like_a_word_of_jinja2_is_what_ansible_makes_of_it(word: str) -> None:
    options = {"hostvars_prefix": word[:1], "compose": {"composed": word}, "keyed_groups": [{"key": word}]}
    check(options, {word[1:]: "x"}, {})
