# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resources as hosts of an inventory. No machine gets the name of another host or group."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils import _inventory
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError, read_resource
from ansible_collections.compute_index.supply.plugins.module_utils._machine import connection
from hypothesis import example, given
from hypothesis import strategies as st

from samples import OTHER_ID, RESOURCE_ID, SECOND_RESOURCE_ID, resource

FIRST, SECOND, THIRD = RESOURCE_ID, SECOND_RESOURCE_ID, OTHER_ID


def read_with_connection(*args: Any, **fields: Any) -> dict[str, Any]:
    """A resource as the inventory plugin reads it."""
    return connection.with_connection(read_resource(resource(*args, **fields)))


def names(*preferred: Any, taken: tuple[str, ...] = (), ids: tuple[Any, ...] = (FIRST, SECOND, THIRD)) -> list[str]:
    resources = [{"resource_id": key} for key, _name in zip(ids, preferred, strict=False)]
    return _inventory.host_names(resources, preferred, taken).hosts


# Names


@pytest.mark.parametrize(
    ("preferred", "expected"),
    [
        ([], []),
        (["trainer"], ["trainer"]),
        (["a", "b", "c"], ["a", "b", "c"]),
        (["a", "A"], ["a", "A"]),
        (["a", "a"], [f"a-{FIRST}", f"a-{SECOND}"]),
        (["a", "b", "a"], [f"a-{FIRST}", "b", f"a-{THIRD}"]),
        ([None, None], [FIRST, SECOND]),
        ([None, "a"], [FIRST, "a"]),
        (["10.0.0.5", "gpu_1.example.com"], ["10.0.0.5", "gpu_1.example.com"]),
        (["x" * 253, "x" * 254], ["x" * 253, SECOND]),
    ],
    ids=str,
)
def test_unique_preferred_names_become_host_names(preferred: list[Any], expected: list[str]) -> None:
    assert names(*preferred) == expected


@pytest.mark.parametrize(
    "name",
    [
        *("", 7, True, ["a"], {"a": 1}),
        *("all", "ALL", "ungrouped", "localhost", "LocalHost", "localhost4", "localhost6", "127.0.0.1", "127.1", "::1"),
        *(
            "two words",
            " a",
            "a\n",
            "a\tb",
            "a,b",
            "a:b",
            "a[1:2]",
            "a/b",
            "-a",
            ".a",
            "_a",
            "!a",
            "&a",
            "a*",
            "\u00fc",
        ),
        *("{{ 7*7 }}", "{% x %}", "a{#b", "$(id)", "a;b", "@file"),
        *(FIRST, SECOND, SECOND.upper(), f"a-{SECOND}", f"{SECOND}.example.com"),
        *("supply", "vendor_nebius"),
    ],
    ids=repr,
)
def test_names_with_a_special_meaning_are_ignored(name: Any) -> None:
    assert names(name, "b", taken=("supply", "vendor_nebius")) == [FIRST, "b"]


def test_ignored_names_are_not_reported_as_shared() -> None:
    found = _inventory.host_names([{"resource_id": key} for key in (FIRST, SECOND)], ["localhost"] * 2, ())
    assert found == ([FIRST, SECOND], {})


def test_shared_names_are_reported_with_their_hosts() -> None:
    found = _inventory.host_names([{"resource_id": key} for key in (FIRST, SECOND, THIRD)], ["a", "b", "a"], ())
    assert found.shared == {"a": [f"a-{FIRST}", f"a-{THIRD}"]}


@pytest.mark.parametrize("key", [None, ""])
@pytest.mark.parametrize("preferred", [[None, "a"], ["a", "a"], ["localhost", "a"]], ids=str)
def test_resource_without_usable_name_and_id_is_an_error(preferred: list[Any], key: Any) -> None:
    with pytest.raises(ApiError, match="without an id") as caught:
        names(*preferred, ids=(key, SECOND))
    assert caught.value.error_class == "protocol"


def test_resource_with_unique_name_needs_no_id() -> None:
    assert names("a", "b", ids=(None, None)) == ["a", "b"]


@pytest.mark.parametrize(
    ("preferred", "key"),
    [
        *(([None, "b"], key) for key in ("localhost", "all", "supply", "two words", "{{ x }}", "b")),
        (["a", "a-2", "a"], "2"),
    ],
    ids=str,
)
def test_ids_that_are_not_plain_or_unique_are_errors(preferred: list[Any], key: str) -> None:
    with pytest.raises(ApiError):
        names(*preferred, taken=("supply",), ids=(key, SECOND, key))


PREFERRED = (
    st.sampled_from(["a", "b", "all", "localhost", FIRST, f"a-{FIRST}", "supply", "{{ x }}"]) | st.text() | st.none()
)


@given(st.lists(st.tuples(st.uuids(), PREFERRED | st.from_regex(r"[a-z][a-z-]{0,3}", fullmatch=True)), max_size=6))
@example([])
def test_host_names_are_plain_and_unique(pairs: list[tuple[Any, Any]]) -> None:
    unique = dict(pairs)
    preferred = list(unique.values())
    found = names(*preferred, taken=("supply",), ids=tuple(map(str, unique)))
    assert len(set(found)) == len(found) == len(unique)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) for name in found)
    assert not {"all", "localhost", "supply"} & set(found)


# Variables


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a", {"b": {"c": 1}, "l": ["x"]}),
        ("a.b.c", 1),
        ("a.x", None),
        ("x.b", None),
        ("a.b.c.d", None),
        ("a.l.0", None),
        ("text.upper", None),
        ("", None),
    ],
)
def test_field_at_dotted_path(path: str, expected: Any) -> None:
    assert _inventory.field({"a": {"b": {"c": 1}, "l": ["x"]}, "text": "t"}, path) == expected


def test_fields_of_resource_get_the_prefix() -> None:
    variables = _inventory.host_variables(read_with_connection(extra=[1]), "supply_")
    assert (variables["supply_name"], variables["supply_status"], variables["supply_extra"]) == (
        "trainer",
        "running",
        [1],
    )
    assert (variables["supply_access"]["internal_ip"], variables["supply_price_per_hour"]) == ("10.0.0.5", 2.0)
    plain = {name: value for name, value in variables.items() if not name.startswith("supply_")}
    assert plain == {"ansible_host": "203.0.113.7", "ansible_port": 22, "ansible_user": "root"}


@pytest.mark.parametrize(
    ("prefix", "key", "expected"),
    [
        ("supply_", "gpu-count", "supply_gpu_count"),
        ("supply_", "a.b c", "supply_a_b_c"),
        ("supply_", "{{ 7*7 }}", "supply____7_7___"),
        ("supply_", "\u00fc\n", "supply___"),
        ("supply_", "7", "supply_7"),
        ("supply_", "", "supply_"),
        ("x", "name", "xname"),
    ],
)
def test_field_names_become_valid_variable_names(prefix: str, key: str, expected: str) -> None:
    assert _inventory.host_variables(read_with_connection(**{key: "here"}), prefix)[expected] in ("here", "trainer")


@pytest.mark.parametrize(
    "name",
    [
        *("ansible_host", "ansible_port", "ansible_user"),
        *("ansible_connection", "ansible_ssh_common_args", "ansible_python_interpreter", "vars", "groups"),
    ],
)
@pytest.mark.parametrize("ip", ["203.0.113.7", None])
def test_api_fields_never_become_ansible_variables(name: str, ip: str | None) -> None:
    variables = _inventory.host_variables(read_with_connection(ip=ip, **{name: "198.51.100.1"}), "supply_")
    assert variables.get(name) != "198.51.100.1"
    assert variables.get(f"supply_{name}", "198.51.100.1") == "198.51.100.1"


@pytest.mark.parametrize("key", [FIRST, None])
def test_resource_without_address_gets_an_invalid_host(key: Any) -> None:
    variables = _inventory.host_variables(read_with_connection(key, None), "supply_")
    assert {name: value for name, value in variables.items() if name.startswith("ansible")} == {
        "ansible_host": f"{key}.invalid"
    }


# Groups


@pytest.mark.parametrize(
    ("fields", "groups"),
    [
        ({}, ["vendor_nebius", "state_running"]),
        ({"vendor": None, "status": None}, []),
        ({"vendor": "Lambda Labs, Inc."}, ["vendor_lambda_labs_inc", "state_running"]),
        ({"region": "EU", "vendor_region": "eu-north1"}, ["region_eu", "region_eu_north1"]),
        ({"spec": {"region": "EU", "contract_type": "ondemand"}}, ["region_eu", "contract_ondemand"]),
        ({"region": "US", "spec": {"region": "EU"}}, ["region_us"]),
        ({"gpu_family": "H100"}, ["gpu_h100"]),
        ({"gpu_type": "nvidia-h100-sxm5-80gb"}, ["gpu_h100", "gpu_nvidia_h100_sxm5_80gb"]),
        ({"spec": {"gpu_type": "nvidia-l40s-48gb"}}, ["gpu_l40s", "gpu_nvidia_l40s_48gb"]),
        ({"gpu_family": "B200", "gpu_type": "nvidia-h100-sxm5-80gb"}, ["gpu_b200", "gpu_nvidia_h100_sxm5_80gb"]),
        ({"gpu_type": "H100"}, ["gpu_h100"]),
        ({"gpu_type": "amd-mi300x-192gb"}, ["gpu_amd_mi300x_192gb"]),
        ({"gpu_type": 7, "gpu_family": [], "region": {}, "contract_type": True}, []),
        ({"vendor": "{{ 7*7 }}", "contract_type": "a:b&c!d"}, ["vendor_7_7", "contract_a_b_c_d"]),
        ({"status": "Paused"}, ["state_paused"]),
    ],
    ids=str,
)
def test_groups_of_resource(fields: dict[str, Any], groups: list[str]) -> None:
    found = _inventory.groups_of(read_with_connection(**fields))
    common = {"vendor_nebius", "state_running"} - fields.keys()
    assert found[0] == _inventory.GROUP
    assert set(groups) <= set(found) and set(found) - set(groups) <= {_inventory.GROUP, *common}


ODD = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=1)
FIELDS = st.dictionaries(st.sampled_from([name for names in _inventory._GROUPED.values() for name in names]), ODD)


@given(FIELDS, FIELDS)
def test_groups_have_plain_names_and_include_the_common_group(fields: Any, spec: Any) -> None:
    found = _inventory.groups_of(read_resource({**fields, "spec": spec}))
    assert _inventory.GROUP in found
    assert [name for name in found if not re.fullmatch(r"[a-z0-9_]+", name)] == []


KEYS = st.sampled_from(["ansible_host", "ansible_connection", "ansible_user", "name"]) | st.text()


@given(st.dictionaries(KEYS, st.text() | st.integers()))
def test_variables_of_any_fields_have_the_prefix(fields: Any) -> None:
    variables = _inventory.host_variables(connection.with_connection(read_resource(fields)), "supply_")
    assert [name for name in variables if not re.fullmatch(r"supply_[A-Za-z0-9_]*", name)] == ["ansible_host"]
