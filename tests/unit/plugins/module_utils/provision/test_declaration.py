# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations of hosts, and objections to them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine.wanted import THRESHOLDS
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import (
    UNLIMITED,
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


def test_nothing_is_wrong_with_a_plain_host() -> None:
    known = declared()
    assert known.objections == ()
    assert (known.declared_max_price_per_hour, known.max_total_price_per_hour, known.max_price_per_hour) == (
        4.0,
        UNLIMITED,
        4.0,
    )
    assert known.registry_file == f"{REGISTRY}/gpu-1/compute_index_supply.yml"
    assert not known.by_name
    assert declared("").by_name and declared("").registry_file == ""


# Numbers


@pytest.mark.parametrize(
    ("said", "read"),
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
def test_ceilings(said: Any, read: float | None) -> None:
    known = declared(max_price_per_hour=said, max_total_price_per_hour=said, offer_id=offer_id(1))
    assert known.objections == ()
    assert known.declared_max_price_per_hour == read
    assert known.max_total_price_per_hour == (UNLIMITED if read is None else read)


@pytest.mark.parametrize(
    "said",
    [
        *("3,5", "1e3", ".5", "4.", "-1", "+1", "1_0", "0x10", "4 USD", "$4", "4 5", "1.2.3", "1/2", "4\n5", "null"),
        *("\N{ARABIC-INDIC DIGIT FOUR}", "\N{FULLWIDTH DIGIT FOUR}", "\N{SUPERSCRIPT TWO}", "nan", "inf", "Unlimited"),
        *(True, False, -1, 1e-06, 1e16, 10**400, math.nan, math.inf, -math.inf, [4], {"usd": 4}, (), b"4", "9" * 400),
        "{{ 4 }}",
    ],
)
def test_what_is_no_ceiling_lets_nothing_pass(said: Any) -> None:
    known = declared(
        max_price_per_hour=said, max_total_price_per_hour=said, max_account_price_per_hour=said, budget=said
    )
    assert (
        known.declared_max_price_per_hour,
        known.max_total_price_per_hour,
        known.max_account_price_per_hour,
        known.budget,
    ) == (
        0.0,
        0.0,
        0.0,
        0.0,
    )
    assert len(known.objections) == 4
    assert "provision_max_price_per_hour" in known.objections[0]
    assert "provision_max_total_price_per_hour" in known.objections[1]
    assert "provision_max_account_price_per_hour" in known.objections[2]
    assert "provision_budget must be a number (USD a month)" in known.objections[3]


def test_a_budget_needs_a_registry() -> None:
    assert "provision_budget needs a registry" in declared("", budget=100).objections[0]
    assert not declared("", budget="unlimited").objections and not declared(budget=100).objections
    assert declared().budget == UNLIMITED == declared().max_account_price_per_hour


@given(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.integers(), max_size=1)
)
def test_a_ceiling_is_the_number_that_was_written_or_refused(said: Any) -> None:
    known = declared(max_price_per_hour=said, offer_id=offer_id(1))
    if known.objections:
        assert known.declared_max_price_per_hour == 0.0
    elif known.declared_max_price_per_hour is None:
        assert str(said if said is not None else "").strip() == ""
    else:
        assert known.declared_max_price_per_hour == (math.inf if str(said).strip() == "unlimited" else float(str(said)))


def test_a_search_needs_a_ceiling() -> None:
    assert "provision_max_price_per_hour must say" in objections(max_price_per_hour="")
    assert objections(max_price_per_hour="unlimited") == ""
    assert declared(max_price_per_hour="", offer_id=offer_id(1)).max_price_per_hour == UNLIMITED


@pytest.mark.parametrize(
    "said", ["0", 0, -1, "3.0", 3.5, True, None, "", "many", [3], "1_0", "\N{ARABIC-INDIC DIGIT THREE}"]
)
def test_attempts(said: Any) -> None:
    known = declared(max_attempts=said)
    assert "provision_max_attempts must be a whole number from 1 to" in " ".join(known.objections)
    assert known.max_attempts == 1


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        *(("30m", False), ("90", False), ("0.5h", False), (600, False), ("soon", True), ("", True)),
        *(("1d", False), ("86401", True), ("999999999d", True)),
    ],
)
def test_how_long_a_first_boot_may_take(said: Any, wrong: bool) -> None:
    assert ("provision_boot_timeout must be" in objections(boot_timeout=said)) is wrong


@pytest.mark.parametrize(("said", "seconds"), [("1h", 3600), ("61m", 0), ("99999999d", 0)])
def test_a_machine_that_is_paid_for_is_looked_at_every_hour(said: str, seconds: int) -> None:
    known = declared(poll_delay=said)
    assert known.poll_delay == seconds
    assert known.objections == (() if seconds else (f"provision_poll_delay must be at most 1 hour, not '{said}'.",))


def test_counts_that_came_as_texts() -> None:
    known = declared(max_attempts=" 2 ", poll_delay="0", poll_retries="240")
    assert (known.max_attempts, known.poll_delay, known.poll_retries) == (2, 0, 240)
    assert known.objections == ()


@pytest.mark.parametrize(
    ("said", "read"),
    [
        *[(each, True) for each in (True, 1, "true", "True", " yes ", "on", "1", "Y", "t")],
        *[(each, False) for each in (False, None, 0, "", "false", "False", "no", "off", "0", "n", "f")],
    ],
)
def test_booleans_that_came_as_texts(said: Any, read: bool) -> None:
    assert is_true(said) is read
    known = declared(all_or_nothing=said, adopt=said, reach=said)
    assert (known.all_or_nothing, known.adopt, known.reach) == (read,) * 3


# The order


@pytest.mark.parametrize(
    ("fields", "said"),
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
def test_orders(fields: dict[str, Any], said: str) -> None:
    assert said in objections(**fields)


def test_a_name_that_two_hosts_may_have_needs_a_registry() -> None:
    fields = {"host": "gpu-1", "project": "team-a", "name": "team-a-gpu-1"}
    (said,) = [each for each in declared("", **fields).objections if "only its name identifies a machine" in each]
    assert "also that of host a-gpu-1 of project team." in said and "leave provision_project out" in said
    assert "only its name identifies a machine" not in objections(**fields)
    for other in ({**fields, "name": "mine"}, {**fields, "project": "team_a", "name": "team_a-gpu-1"}):
        assert "only its name identifies a machine" not in " ".join(declared("", **other).objections)


def test_an_offers_id_in_capitals_with_blanks() -> None:
    known = declared(spec={}, offer_id=f" {offer_id(10).upper()}\n", max_price_per_hour="")
    assert (known.offer_id, known.objections) == (offer_id(10), ())


def test_an_unsuited_key_is_an_objection() -> None:
    assert declared(key_fault="There is no SSH public key.").objections == ("There is no SSH public key.",)


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert (
        len(
            declared(
                spec={},
                max_price_per_hour="3,5",
                max_attempts=0,
                slips=["provision_specs is a slip."],
                host="localhost",
            ).objections
        )
        == 5
    )


# The host


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_this_computer_is_no_machine(name: str) -> None:
    for reach in (True, False):
        assert "is this computer" in objections(host=name, reach=reach)


@pytest.mark.parametrize(
    ("connection", "reach", "refused"),
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
def test_a_local_connection_would_configure_this_computer(connection: str | None, reach: bool, refused: bool) -> None:
    assert ("connection of gpu-1 is local" in objections(connection=connection, reach=reach)) is refused


@pytest.mark.parametrize("name", ["../../escaped", "..", ".", "a/b", "/etc"])
def test_a_host_keeps_a_folder_of_its_own(name: str) -> None:
    assert "cannot be the name of a folder" in objections(host=name)
    assert objections("", host=name) == ""


@pytest.mark.parametrize(
    "name", ["gpu 1", "gpü-1", "007", "100%", "it's", "a;b", "-x", "x" * 240, "#a", "$x", "a\\b", "..."]
)
def test_odd_names_of_hosts(name: str) -> None:
    assert objections(host=name, name=name) == ""


@pytest.mark.parametrize("name", ["", "  ", "\t"])
def test_an_empty_name_tells_nothing(name: str) -> None:
    for folder in (REGISTRY, ""):
        assert "provision_resource_name must not be empty" in objections(folder, name=name)


def test_a_name_that_is_a_number_is_a_text() -> None:
    assert (declared(name=7).name, declared(host=101).host) == ("7", "101")


@pytest.mark.parametrize("part", ['a"b', "a{{ b }}", "a{% b %}", "a{# b #}", "a\nb", "a${HOME}", "a\\\\b", "a\\'b"])
def test_paths_that_ssh_or_ansible_misread(part: str) -> None:
    for fields in ({"registry_dir": f"/{part}"}, {"registry_dir": REGISTRY, "host": part}):
        assert "has characters that ssh or Ansible cannot read" in objections(**{"name": "gpu-1", **fields})
    assert objections("", host=part) == ""


def test_a_seeded_host_key_needs_a_registry() -> None:
    assert "needs a registry" in objections("", host_key_trust="seeded")
    assert objections(host_key_trust="seeded") == ""


# The first boot


def test_a_text_is_no_list() -> None:
    said = objections(texts=["provision_users", "provision_commands"])
    assert said == "provision_users, provision_commands must be given as lists."


def test_what_the_argument_specs_say_is_said_once() -> None:
    invalid = ["value of provision_on_failure must be one of: keep, release, got: drop", "provision_max_attempts: 'x'"]
    said = objections(max_attempts="x", invalid=invalid)
    assert said.startswith("provision_max_attempts must be a whole number")
    assert said.endswith(" value of provision_on_failure must be one of: keep, release, got: drop.")


SCRIPT = {"cloud_init_template": "startup.sh.j2"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"has_cloud_init": True}, "provision_cloud_init holds cloud-config keys"),
        ({"has_cloud_init": "true"}, "provision_cloud_init holds cloud-config keys"),
        ({"cloud_init_template": "/mine/startup.sh.j2", "has_cloud_init": True}, "provision_cloud_init holds"),
    ],
)
def test_what_a_script_cannot_do(fields: dict[str, Any], said: str) -> None:
    assert said in objections(**{**SCRIPT, **fields})
    assert objections(**{**fields, "cloud_init_template": "cloud-config.yaml.j2"}) == ""


# Whatever comes


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
_fields = st.sampled_from(
    [
        *(
            "host",
            "name",
            "project",
            "spec",
            "offer_id",
            "max_price_per_hour",
            "max_total_price_per_hour",
            "max_attempts",
            "all_or_nothing",
        ),
        *("max_account_price_per_hour", "budget"),
        *(
            "adopt",
            "cluster_name",
            "reach",
            "verify",
            "verify_expect",
            "avoid",
            "host_key_trust",
            "on_failure",
            "poll_delay",
            "poll_retries",
            "boot_timeout",
            "connection",
        ),
        *("cloud_init_template", "has_cloud_init"),
    ]
)


@given(st.dictionaries(_fields, _values, max_size=3), st.sampled_from(["", REGISTRY]))
def test_no_value_raises(fields: dict[str, Any], folder: str) -> None:
    known = read_declaration(raw(**fields), place_of(folder))
    assert all(isinstance(each, str) and each for each in known.objections)
    if not known.objections:
        assert known.name.strip() and (known.choices or known.offer_id)
        assert (
            known.offer_id
            or known.declared_max_price_per_hour is not None
            or all(c.max_price_per_hour != UNLIMITED for c in known.choices)
        )


# Leases


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"lease": "8h"}, ""),
        ({"lease": "8h", "lease_max": "8h"}, ""),
        ({"lease": "8h", "max_bill": "unlimited"}, ""),
        ({"lease": "8h", "max_bill": 20}, ""),
        ({"max_bill": "unlimited"}, ""),
        ({"lease": "8 hours"}, "provision_lease must be a duration such as 8h"),
        ({"lease": "8"}, "provision_lease must be a duration such as 8h"),
        ({"lease": "-1h"}, "provision_lease must be a duration such as 8h"),
        ({"lease": "0h"}, "provision_lease must be longer than nothing"),
        ({"lease": "1970-01-01T00:00Z"}, "provision_lease 1970-01-01T00:00Z is over: it is 1970-01-01 01:00 UTC now."),
        ({"lease": "1970-01-01T09:00"}, "provision_lease must be a duration such as 8h"),
        ({"lease": "9h", "lease_max": "8h"}, "provision_lease (9h) is longer than provision_lease_max (8h)"),
        ({"lease": "1970-01-02T09:00Z", "lease_max": "8h"}, "09:00Z) is longer than provision_lease_max (8h)."),
        ({"lease_max": "8h"}, "provision_lease must say how long the machine may live"),
        ({"lease": "8h", "lease_max": "2026-01-01T00:00Z"}, "provision_lease_max must be a duration"),
        (
            {"max_bill": 20},
            "provision_max_bill is for the whole life of a machine, so it needs provision_lease or order_lease.",
        ),
        ({"lease": "8h", "max_bill": "3,5"}, "provision_max_bill must be a number (USD, for the whole lease)"),
    ],
)
def test_leases(fields: dict[str, Any], said: str) -> None:
    found = " ".join(read_declaration(raw(**fields), Folder(REGISTRY), now=3600.0).objections)
    assert said in found if said else found == ""


def test_a_lease_that_cannot_be_read_is_not_missing() -> None:
    found = read_declaration(raw(lease="8 hours", lease_max="9h", max_bill=20), Folder(REGISTRY), now=0.0).objections
    assert len(found) == 1 and found[0].startswith("provision_lease must be a duration such as 8h")


def test_the_whole_bill_is_a_ceiling_per_hour() -> None:
    found = declared(lease="8h", max_bill="16", max_price_per_hour="4")
    assert found.max_price_per_hour == pytest.approx(2.0) and found.max_price_per_hour >= 2.0
    assert found.ceiling.startswith("provision_max_bill")
    below = declared(lease="8h", max_bill="32.1", max_price_per_hour="4")
    assert below.ceiling.startswith("provision_max_price_per_hour")
    assert declared(lease="8h", max_bill="unlimited", max_price_per_hour="4").max_price_per_hour == 4.0
    assert declared(lease="8h", max_bill="0", max_price_per_hour="4").max_price_per_hour == 0.0
    assert declared(
        offer_id=offer_id(1), lease="8h", max_bill="16", max_price_per_hour=""
    ).max_price_per_hour == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"idle_after": "8h"}, ""),
        ({"idle_after": "8h", "idle_gpu_percent": "0"}, ""),
        ({"idle_after": "8 hours"}, "provision_idle_after must be a duration"),
        ({"idle_after": "2026-12-01T06:00Z"}, "provision_idle_after must be a duration"),
        ({"idle_gpu_percent": 100}, "provision_idle_gpu_percent must be a whole number from 0 to 99, not '100'."),
        ({"idle_gpu_percent": "-1"}, "provision_idle_gpu_percent must be a whole number"),
    ],
)
def test_idleness(fields: dict[str, Any], said: str) -> None:
    assert said in objections(**fields) if said else objections(**fields) == ""


# Second choices


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
def test_searches_in_the_order_of_preference(spec: Any, ceilings: list[float]) -> None:
    found = declared(spec=spec, offer_id=offer_id(1))
    assert [choice.max_price_per_hour for choice in found.choices] == ceilings
    assert all("max_price_per_hour" not in choice.spec for choice in found.choices)


@pytest.mark.parametrize(
    ("fields", "said"),
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
def test_what_is_no_list_of_searches(fields: dict[str, Any], said: str) -> None:
    assert said in objections(**fields) if said else objections(**fields) == ""


@pytest.mark.parametrize(
    ("value", "level"),
    [
        *[(value, "") for value in (None, "", "none", "None", False, "false", "no", 0)],
        *[(value, "specs") for value in (True, "true", "Yes", "specs", " Specs ", 1)],
        *[(value, value) for value in ("health", "load", "burnin")],
    ],
)
def test_the_level_of_a_test(value: Any, level: str) -> None:
    assert read_level(value) == level


@pytest.mark.parametrize("value", ["perhaps", "healthy", ["specs"], {}, 2])
def test_no_level_of_a_test(value: Any) -> None:
    found = declared(verify=value)
    assert found.verify == "" and found.objections[0].startswith("provision_verify must be none, specs, health,")


def test_what_a_test_expects() -> None:
    value = {"min_driver": 550, "min_cuda": 12.4, "thresholds": {"clock": "5"}}
    assert read_expected(value) == {
        "min_driver": "550",
        "min_cuda": "12.4",
        "thresholds": {**THRESHOLDS, "clock": 5.0},
    }
    assert read_expected({}) == {"min_driver": "", "min_cuda": "", "thresholds": {}}


@pytest.mark.parametrize(
    "value", ["550", ["550"], {"driver": "550"}, {"min_driver": "new"}, {"thresholds": {"clok": 1}}, {"thresholds": 7}]
)
def test_what_cannot_be_expected(value: Any) -> None:
    found = declared(verify_expect=value)
    (said,) = found.objections
    assert said.startswith("provision_verify_expect") and said.endswith(".") and not said.endswith("..")
    assert found.expected == read_expected(None)  # a machine that runs may be tested all the same
