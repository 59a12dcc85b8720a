# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations of hosts, and objections to them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine.wanted import THRESHOLDS
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import (
    UNLIMITED,
    invalid_variables,
    is_true,
    read_declaration,
    read_expected,
    read_level,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder, place_of
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import REGISTRY, declared, offer_id, raw

ROOT = Path(__file__).resolve().parents[5]
ROLE = ROOT / "roles" / "provision"


def objections(registry_dir: str = REGISTRY, **fields: Any) -> str:
    return " ".join(declared(registry_dir, **fields).objections)


def test_valid_declaration_has_no_objections() -> None:
    found = declared()
    assert found.objections == ()
    assert (found.declared_max_price_per_hour, found.max_total_price_per_hour, found.max_price_per_hour) == (
        4.0,
        UNLIMITED,
        4.0,
    )


def test_host_without_registry_is_identified_by_name() -> None:
    assert declared().registry_file == f"{REGISTRY}/gpu-1/compute_index_supply.yml"
    assert not declared().by_name
    assert declared("").by_name and declared("").registry_file == ""


# Numbers


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        (4, 4.0),
        (4.5, 4.5),
        ("4", 4.0),
        (" 4 ", 4.0),
        ("4.50", 4.5),
        ("007", 7.0),
        (0, 0.0),
        ("0", 0.0),
        ("0.0", 0.0),
        (0.1 + 0.2, 0.30000000000000004),
        ("unlimited", math.inf),
        (" unlimited ", math.inf),
        ("", None),
        ("  ", None),
        (None, None),
    ],
)
def test_ceiling_is_a_decimal_number_or_unlimited(value: Any, limit: float | None) -> None:
    found = declared(max_price_per_hour=value, max_total_price_per_hour=value, offer_id=offer_id(1))
    assert found.objections == ()
    assert found.declared_max_price_per_hour == limit
    assert found.max_total_price_per_hour == (UNLIMITED if limit is None else limit)


@pytest.mark.parametrize(
    "value",
    [
        *("3,5", "1e3", ".5", "4.", "-1", "+1", "1_0", "0x10", "4 USD", "$4", "4 5", "1.2.3", "1/2", "4\n5", "null"),
        *("\N{ARABIC-INDIC DIGIT FOUR}", "\N{FULLWIDTH DIGIT FOUR}", "\N{SUPERSCRIPT TWO}", "nan", "inf", "Unlimited"),
        *(True, False, -1, 1e-06, 1e16, 10**400, math.nan, math.inf, -math.inf, [4], {"usd": 4}, (), b"4", "9" * 400),
        "{{ 4 }}",
    ],
)
def test_invalid_ceiling_is_an_objection_and_allows_nothing(value: Any) -> None:
    found = declared(
        max_price_per_hour=value, max_total_price_per_hour=value, max_account_price_per_hour=value, budget=value
    )
    limits = (found.declared_max_price_per_hour, found.max_total_price_per_hour, found.max_account_price_per_hour)
    assert (*limits, found.budget) == (0.0, 0.0, 0.0, 0.0)
    assert len(found.objections) == 4
    assert "provision_max_price_per_hour" in found.objections[0]
    assert "provision_max_total_price_per_hour" in found.objections[1]
    assert "provision_max_account_price_per_hour" in found.objections[2]
    assert "provision_budget must be a number (USD a month)" in found.objections[3]


def test_budget_needs_registry() -> None:
    assert "provision_budget needs a registry" in declared("", budget=100).objections[0]
    assert not declared("", budget="unlimited").objections and not declared(budget=100).objections
    assert declared().budget == UNLIMITED == declared().max_account_price_per_hour


@given(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.integers(), max_size=1)
)
def test_ceiling_is_exactly_the_given_number_or_refused(value: Any) -> None:
    found = declared(max_price_per_hour=value, offer_id=offer_id(1))
    limit = found.declared_max_price_per_hour
    if found.objections:
        assert limit == 0.0
    elif limit is None:
        assert str(value if value is not None else "").strip() == ""
    else:
        assert limit == (math.inf if str(value).strip() == "unlimited" else float(str(value)))


def test_search_needs_ceiling() -> None:
    assert "provision_max_price_per_hour must say" in objections(max_price_per_hour="")
    assert objections(max_price_per_hour="unlimited") == ""
    assert declared(max_price_per_hour="", offer_id=offer_id(1)).max_price_per_hour == UNLIMITED


@pytest.mark.parametrize(
    "value", ["0", 0, -1, "3.0", 3.5, True, None, "", "many", [3], "1_0", "\N{ARABIC-INDIC DIGIT THREE}"]
)
def test_invalid_max_attempts_is_an_objection(value: Any) -> None:
    found = declared(max_attempts=value)
    assert "provision_max_attempts must be a whole number from 1 to" in " ".join(found.objections)
    assert found.max_attempts == 1


@pytest.mark.parametrize(
    ("value", "is_refused"),
    [
        *(("30m", False), ("90", False), ("0.5h", False), (600, False), ("soon", True), ("", True)),
        *(("1d", False), ("86401", True), ("999999999d", True)),
    ],
)
def test_boot_timeout_is_a_duration_of_at_most_a_day(value: Any, is_refused: bool) -> None:
    assert ("provision_boot_timeout must be" in objections(boot_timeout=value)) is is_refused


@pytest.mark.parametrize(("value", "seconds"), [("1h", 3600), ("61m", 0), ("99999999d", 0)])
def test_poll_delay_is_at_most_an_hour(value: str, seconds: int) -> None:
    """The machine is billed meanwhile."""
    found = declared(poll_delay=value)
    assert found.poll_delay == seconds
    assert found.objections == (() if seconds else (f"provision_poll_delay must be at most 1 hour, not '{value}'.",))


def test_counts_may_be_texts() -> None:
    found = declared(max_attempts=" 2 ", poll_delay="0", poll_retries="240")
    assert (found.max_attempts, found.poll_delay, found.poll_retries) == (2, 0, 240)
    assert found.objections == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *[(value, True) for value in (True, 1, "true", "True", " yes ", "on", "1", "Y", "t")],
        *[(value, False) for value in (False, None, 0, "", "false", "False", "no", "off", "0", "n", "f")],
    ],
)
def test_booleans_may_be_texts(value: Any, expected: bool) -> None:
    assert is_true(value) is expected
    found = declared(all_or_nothing=value, adopt=value, reach=value)
    assert (found.all_or_nothing, found.adopt, found.reach) == (expected,) * 3


# What to buy


@pytest.mark.parametrize(
    ("fields", "objection"),
    [
        ({"spec": {}}, "must say what to buy"),
        ({"spec": []}, "must say what to buy"),
        ({"spec": "compute: {}"}, "must say what to buy"),
        ({"spec": {"storage": [{"size": "1TB"}]}}, "needs a section compute"),
        ({"spec": {"compute": {}}}, "needs a section compute"),
        ({"offer_id": "7"}, "must be the id of an offer, not '7'"),
        ({"offer_id": f"{offer_id(1)}x"}, "must be the id of an offer"),
        ({"offer_id": f"{offer_id(1)}\n{offer_id(2)}"}, "must be the id of an offer"),
        ({"offer_id": "x" * 200}, f"not '{'x' * 60}'."),
    ],
)
def test_search_or_offer_id_must_be_valid(fields: dict[str, Any], objection: str) -> None:
    assert objection in objections(**fields)


def test_name_that_another_project_may_use_needs_registry() -> None:
    fields = {"host": "gpu-1", "project": "team-a", "name": "team-a-gpu-1"}
    words = "only its name identifies a machine"
    (objection,) = [text for text in declared("", **fields).objections if words in text]
    assert (
        "one of host a-gpu-1 of project team would also be called" in objection
        and "leave provision_project out" in objection
    )
    assert words not in objections(**fields)
    for unique in ({**fields, "name": "mine"}, {**fields, "project": "team_a", "name": "team_a-gpu-1"}):
        assert words not in objections("", **unique)


def test_offer_id_is_read_without_blanks_in_lower_case() -> None:
    found = declared(spec={}, offer_id=f" {offer_id(10).upper()}\n", max_price_per_hour="")
    assert (found.offer_id, found.objections) == (offer_id(10), ())


def test_refusal_of_the_playbook_is_the_only_objection() -> None:
    assert declared(spec={}, refused="Not this host.").objections == ("Not this host.",)


def test_unsuited_key_is_an_objection() -> None:
    assert declared(key_fault="There is no SSH public key.").objections == ("There is no SSH public key.",)


def test_all_objections_are_reported_together() -> None:
    slips = ["provision_specs is a slip."]
    found = declared(spec={}, max_price_per_hour="3,5", max_attempts=0, slips=slips, host="localhost")
    assert len(found.objections) == 5


# The host


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_localhost_is_refused(name: str) -> None:
    for reach in (True, False):
        assert "is this computer" in objections(host=name, reach=reach)


@pytest.mark.parametrize(
    ("connection", "reach", "is_refused"),
    [
        ("local", True, True),
        (" local ", True, True),
        ("ansible.builtin.local", True, True),
        ("ansible.legacy.local", True, True),
        ("local", False, False),
        ("ssh", True, False),
        ("ansible.builtin.ssh", True, False),
        ("", True, False),
        (None, True, False),
    ],
)
def test_local_connection_is_refused_if_machine_is_to_be_reached(
    connection: str | None, reach: bool, is_refused: bool
) -> None:
    assert ("connection of gpu-1 is local" in objections(connection=connection, reach=reach)) is is_refused


@pytest.mark.parametrize("name", ["../../escaped", "..", ".", "a/b", "/etc"])
def test_host_name_must_be_a_folder_name_if_registry_is_a_folder(name: str) -> None:
    assert "cannot be the name of a folder" in objections(host=name)
    assert objections("", host=name) == ""


@pytest.mark.parametrize(
    "name", ["gpu 1", "gpü-1", "007", "100%", "it's", "a;b", "-x", "x" * 240, "#a", "$x", "a\\b", "..."]
)
def test_unusual_host_names_are_accepted(name: str) -> None:
    assert objections(host=name, name=name) == ""


@pytest.mark.parametrize("name", ["", "  ", "\t"])
def test_resource_name_must_not_be_empty(name: str) -> None:
    for folder in (REGISTRY, ""):
        assert "provision_resource_name must not be empty" in objections(folder, name=name)


def test_numeric_names_are_read_as_texts() -> None:
    assert (declared(name=7).name, declared(host=101).host) == ("7", "101")


@pytest.mark.parametrize("part", ['a"b', "a{{ b }}", "a{% b %}", "a{# b #}", "a\nb", "a${HOME}", "a\\\\b", "a\\'b"])
def test_registry_path_that_ssh_or_ansible_misreads_is_refused(part: str) -> None:
    for fields in ({"registry_dir": f"/{part}"}, {"registry_dir": REGISTRY, "host": part}):
        assert "has characters that ssh or Ansible cannot read" in objections(**{"name": "gpu-1", **fields})
    assert objections("", host=part) == ""


def test_seeded_host_key_needs_registry() -> None:
    assert "needs a registry" in objections("", host_key_trust="seeded")
    assert objections(host_key_trust="seeded") == ""


# The first boot


def test_texts_instead_of_lists_are_refused() -> None:
    found = objections(texts=["provision_users", "provision_commands"])
    assert found == "provision_users, provision_commands must be given as lists."


def test_argument_spec_objects_only_to_variables_without_objection() -> None:
    invalid = ["value of provision_on_failure must be one of: keep, release, got: drop", "provision_max_attempts: 'x'"]
    found = objections(max_attempts="x", invalid=invalid)
    assert found.startswith("provision_max_attempts must be a whole number")
    assert found.endswith(" value of provision_on_failure must be one of: keep, release, got: drop.")


@pytest.mark.parametrize("template", ["startup.sh.j2", "/mine/startup.sh.j2"])
@pytest.mark.parametrize("has_cloud_init", [True, "true"])
def test_startup_script_takes_no_cloud_config_keys(template: str, has_cloud_init: Any) -> None:
    refused = objections(cloud_init_template=template, has_cloud_init=has_cloud_init)
    assert "provision_cloud_init holds cloud-config keys" in refused
    assert objections(cloud_init_template=template, has_cloud_init=False) == ""
    assert objections(cloud_init_template="cloud-config.yaml.j2", has_cloud_init=has_cloud_init) == ""


# Arbitrary values


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
_fields = st.sampled_from(
    [
        *("host", "name", "project", "spec", "offer_id", "max_price_per_hour", "max_total_price_per_hour"),
        *("max_account_price_per_hour", "budget", "max_attempts", "all_or_nothing", "adopt", "cluster_name", "reach"),
        *("verify", "verify_expect", "avoid", "host_key_trust", "on_failure", "poll_delay", "poll_retries"),
        *("boot_timeout", "connection", "cloud_init_template", "has_cloud_init"),
    ]
)


@given(st.dictionaries(_fields, _values, max_size=3), st.sampled_from(["", REGISTRY]))
def test_arbitrary_values_never_raise(fields: dict[str, Any], folder: str) -> None:
    found = read_declaration(raw(**fields), place_of(folder))
    assert all(isinstance(objection, str) and objection for objection in found.objections)
    if not found.objections:
        assert found.name.strip() and (found.choices or found.offer_id)
        assert (
            found.offer_id
            or found.declared_max_price_per_hour is not None
            or all(choice.max_price_per_hour != UNLIMITED for choice in found.choices)
        )


# Leases


@pytest.mark.parametrize(
    ("fields", "objection"),
    [
        ({"lease": "8h"}, ""),
        ({"lease": "8h", "lease_max": "8h"}, ""),
        ({"lease": "8h", "max_bill": "unlimited"}, ""),
        ({"lease": "8h", "max_bill": 20}, ""),
        ({"max_bill": "unlimited"}, ""),
        ({"lease": "8 hours"}, "provision_lease must be a duration such as 8h"),
        ({"lease": "8"}, "provision_lease must be a duration such as 8h"),
        ({"lease": "-1h"}, "provision_lease must be a duration such as 8h"),
        ({"lease": "0h"}, "provision_lease must be more than zero"),
        ({"lease": "1970-01-01T00:00Z"}, "provision_lease 1970-01-01T00:00Z is over: it is 1970-01-01 01:00 UTC now."),
        ({"lease": "1970-01-01T09:00"}, "provision_lease must be a duration such as 8h"),
        ({"lease": "9h", "lease_max": "8h"}, "provision_lease (9h) is longer than provision_lease_max (8h)"),
        ({"lease": "1970-01-02T09:00Z", "lease_max": "8h"}, "09:00Z) is longer than provision_lease_max (8h)."),
        ({"lease_max": "8h"}, "provision_lease must say how long the machine may live"),
        ({"lease": None, "lease_max": "8h"}, "provision_lease must say how long the machine may live"),
        ({"lease": None, "max_bill": 20}, "provision_max_bill is for the whole life of a machine"),
        ({"lease": "8h", "lease_max": "2026-01-01T00:00Z"}, "provision_lease_max must be a duration"),
        (
            {"max_bill": 20},
            "provision_max_bill is for the whole life of a machine, so it needs provision_lease or order_lease.",
        ),
        ({"lease": "8h", "max_bill": "3,5"}, "provision_max_bill must be a number (USD, for the whole lease)"),
    ],
)
def test_invalid_leases_and_bills_are_objections(fields: dict[str, Any], objection: str) -> None:
    found = " ".join(read_declaration(raw(**fields), Folder(REGISTRY), now=3600.0).objections)
    assert objection in found if objection else found == ""


@pytest.mark.parametrize(
    ("values", "invalid"),
    [
        ({}, []),
        ({"provision_protect": True, "provision_lease": "8h", "provision_budget": 9, "provision_project": "red"}, []),
        ({"provision_project": 7, "provision_resource_name": None, "provision_max_bill": "unlimited"}, []),
        ({"provision_project": True, "provision_resource_name": {"a": 1}}, ["project", "resource_name"]),
        ({"provision_registry_url": ["postgresql://db"]}, ["registry_url"]),
        ({"provision_registry_dir": "/c/ansible_collections/compute_index/supply/playbooks"}, ["registry_dir"]),
        ({"provision_registry_dir": "/c/ansible_collections/compute_index/supply"}, ["registry_dir"]),
        ({"provision_registry_dir": "/c/ansible_collections/compute_index/supply2"}, []),
        ({"provision_lease": "8", "provision_lease_max": "8 hours"}, ["lease", "lease_max"]),
        ({"provision_max_bill": "3,5", "provision_budget": "1e3"}, ["max_bill", "budget"]),
        ({"provision_protect": "ture", "provision_idle_after": "2"}, ["idle_after", "protect"]),
    ],
)
def test_invalid_variables_of_sweeps_are_named(values: dict[str, Any], invalid: list[str]) -> None:
    """A sweep refuses a host with such a variable, rather than read another registry or lease."""
    assert [name for name, _reason in invalid_variables(values)] == [f"provision_{name}" for name in invalid]


def test_registry_must_not_be_in_the_folder_of_the_collection() -> None:
    folder = raw(registry_dir="/c/ansible_collections/compute_index/supply/playbooks/host_vars")
    (objection,) = read_declaration(folder, Folder(REGISTRY)).objections
    assert objection.startswith("provision_registry_dir is in the collection's folder")


def test_invalid_lease_does_not_count_as_missing() -> None:
    found = read_declaration(raw(lease="8 hours", lease_max="9h", max_bill=20), Folder(REGISTRY), now=0.0).objections
    assert len(found) == 1 and found[0].startswith("provision_lease must be a duration such as 8h")


@pytest.mark.parametrize(("declared_at", "begin"), [(1000.0, 1000.0), ("1000", 1000.0), (0.0, 5000.0), ("", 5000.0)])
def test_wait_begins_when_the_play_declared_its_hosts(declared_at: Any, begin: float) -> None:
    """A later call of the same run does not wait anew."""
    found = read_declaration(raw(wait="8h", declared_at=declared_at), Folder(REGISTRY), now=5000.0)
    assert (found.patience.until, found.patience.since) == (begin + 8 * 3600, begin)


@pytest.mark.parametrize(
    ("lease", "unswept", "refuses"),
    [("8h", "refuse", True), ("8h", "warn", False), ("", "refuse", False), ("2030-12-01T06:00Z", "refuse", True)],
)
def test_host_refuses_lease_that_no_sweep_would_end(lease: str, unswept: str, refuses: bool) -> None:
    assert declared(lease=lease, lease_unswept=unswept).refuses_unswept is refuses


UNLIMITED_CEILING = "provision_max_price_per_hour (unlimited)"


@pytest.mark.parametrize(
    ("fields", "price_per_hour", "ceiling"),
    [
        ({"max_bill": "16", "max_price_per_hour": "4"}, 2.0, "provision_max_bill"),
        ({"max_bill": "32.1", "max_price_per_hour": "4"}, 4.0, "provision_max_price_per_hour"),
        ({"max_bill": "unlimited", "max_price_per_hour": "4"}, 4.0, "provision_max_price_per_hour"),
        ({"max_bill": "0", "max_price_per_hour": "4"}, 0.0, "provision_max_bill"),
        ({"max_bill": "16", "max_price_per_hour": "", "offer_id": offer_id(1)}, 2.0, "provision_max_bill"),
        ({"max_bill": "unlimited", "max_price_per_hour": "", "offer_id": offer_id(1)}, UNLIMITED, UNLIMITED_CEILING),
        ({"max_price_per_hour": "unlimited"}, UNLIMITED, UNLIMITED_CEILING),
        ({"max_price_per_hour": "3.5"}, 3.5, "provision_max_price_per_hour (USD 3.50 per hour)"),
    ],
)
def test_lower_of_price_limit_and_largest_bill_is_the_ceiling(
    fields: dict[str, Any], price_per_hour: float, ceiling: str
) -> None:
    found = declared(lease="8h", **fields)
    assert found.max_price_per_hour == pytest.approx(price_per_hour) and found.max_price_per_hour >= price_per_hour
    assert found.ceiling.startswith(ceiling)
    assert replace(found, plan_number="7f").ceiling.startswith("the price in plan 7f (")


@pytest.mark.parametrize(
    ("fields", "objection"),
    [
        ({"idle_after": "8h"}, ""),
        ({"idle_after": "8h", "idle_gpu_percent": "0"}, ""),
        ({"idle_after": "8 hours"}, "provision_idle_after must be a duration"),
        ({"idle_after": "2026-12-01T06:00Z"}, "provision_idle_after must be a duration"),
        ({"idle_gpu_percent": 100}, "provision_idle_gpu_percent must be a whole number from 0 to 99, not '100'."),
        ({"idle_gpu_percent": "-1"}, "provision_idle_gpu_percent must be a whole number"),
    ],
)
def test_idle_limits_must_be_valid(fields: dict[str, Any], objection: str) -> None:
    assert objection in objections(**fields) if objection else objections(**fields) == ""


# Several searches


H100, A100 = ({"compute": {"gpu_type": name}} for name in ("H100", "A100"))


@pytest.mark.parametrize(
    ("spec", "ceilings"),
    [
        (H100, [UNLIMITED]),
        ([H100], [UNLIMITED]),
        ([H100, {**A100, "max_price_per_hour": "2.5"}], [UNLIMITED, 2.5]),
        ({**H100, "max_price_per_hour": 3}, [3.0]),
        ({}, []),
        ([], []),
        (None, []),
    ],
)
def test_spec_is_a_search_or_a_list_in_order_of_preference(spec: Any, ceilings: list[float]) -> None:
    found = declared(spec=spec, offer_id=offer_id(1))
    assert [choice.max_price_per_hour for choice in found.choices] == ceilings
    assert all("max_price_per_hour" not in choice.spec for choice in found.choices)


@pytest.mark.parametrize(
    ("fields", "objection"),
    [
        ({"spec": [H100, "A100"]}, "provision_spec must be a search (a mapping), or a list of them."),
        ({"spec": "H100"}, "provision_spec must be a search (a mapping), or a list of them."),
        ({"spec": [H100, {}]}, "provision_spec must be a search (a mapping), or a list of them."),
        ({"spec": [H100, {"region": "EU"}]}, "provision_spec needs a section compute"),
        ({"spec": {**H100, "max_price_per_hou": 3}}, "provision_spec has 'max_price_per_hou'"),
        ({"spec": [H100, {**A100, "regoin": "EU"}]}, "provision_spec[1] has 'regoin'"),
        (
            {"spec": [H100, {**A100, "max_price_per_hour": "3,5"}]},
            "provision_spec[1].max_price_per_hour must be a number (USD per hour)",
        ),
        (
            {"spec": [{**H100, "max_price_per_hour": 3}, A100], "max_price_per_hour": ""},
            "provision_max_price_per_hour must say",
        ),
        ({"spec": [{**H100, "max_price_per_hour": 3}], "max_price_per_hour": ""}, ""),
    ],
)
def test_invalid_list_of_searches_is_an_objection(fields: dict[str, Any], objection: str) -> None:
    assert objection in objections(**fields) if objection else objections(**fields) == ""


# The acceptance test


@pytest.mark.parametrize(
    ("value", "level"),
    [
        *[(value, "") for value in (None, "", "none", "None", False, "false", "no", 0)],
        *[(value, "specs") for value in (True, "true", "Yes", "specs", " Specs ", 1)],
        *[(value, value) for value in ("health", "load", "burnin")],
    ],
)
def test_read_level(value: Any, level: str) -> None:
    assert read_level(value) == level


@pytest.mark.parametrize("value", ["perhaps", "healthy", ["specs"], {}, 2])
def test_unknown_level_is_an_objection(value: Any) -> None:
    found = declared(verify=value)
    assert found.verify == "" and found.objections[0].startswith("provision_verify must be none, specs, health,")


def test_read_expected() -> None:
    value = {"min_driver": 550, "min_cuda": 12.4, "thresholds": {"clock": "5"}}
    assert read_expected(value) == {
        "min_driver": "550",
        "min_cuda": "12.4",
        "thresholds": {**THRESHOLDS, "clock": 5.0},
    }
    assert read_expected({}) == {"min_driver": "", "min_cuda": "", "thresholds": {}}
    assert read_expected({"min_driver": None, "thresholds": None})["min_driver"] == ""


@pytest.mark.parametrize(
    "value", ["550", ["550"], {"driver": "550"}, {"min_driver": "new"}, {"thresholds": {"clok": 1}}, {"thresholds": 7}]
)
def test_invalid_expectation_is_an_objection(value: Any) -> None:
    found = declared(verify_expect=value)
    (objection,) = found.objections
    assert objection.startswith("provision_verify_expect")
    assert objection.endswith(".") and not objection.endswith("..")
    assert found.expected == read_expected(None)  # existing machines can still be tested
