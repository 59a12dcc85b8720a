# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the action `decide`: their options, their documentation, and the parameters that they gather."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import ansible.template
import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible_collections.compute_index.supply.plugins.action import decide
from ansible_collections.compute_index.supply.plugins.lookup.plan import LookupModule
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Operation
from ansible_collections.compute_index.supply.plugins.module_utils._machine.wanted import TIMEOUTS
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import PLAYBOOK_VARIABLES
from ansible_collections.compute_index.supply.plugins.module_utils._provision.rounds import (
    Common,
    Declared,
    HostVerdict,
)
from ansible_collections.compute_index.supply.plugins.module_utils._text import LINE
from ansible_collections.compute_index.supply.plugins.modules import decide as modules_decide

ROOT = Path(__file__).resolve().parents[4]
HOSTS = ("gpu-1", "gpu-2")


@pytest.mark.parametrize(
    ("environment", "given"),
    [
        ({"TOKEN": "s3cret", 5: ["s3cret"]}, {"TOKEN": True, "5": False}),
        ("TOKEN=s3cret", True),
        (["s3cret"], True),
        ("", False),
        (None, False),
    ],
)
def test_steps_get_no_values_of_run_env(environment: Any, given: Any) -> None:
    action = decide.ActionModule(*[Mock()] * 6)
    action._templar = ansible.template.Templar(loader=None)
    assert action._run({"run_env": environment}) == {"given": {"run_env": given}}


VARIABLES_OF_PLAYBOOKS = [
    ("audit", "audit_settle", True, {"settle": True}),
    ("audit", "audit_fail_on_orphans", False, {"fail_on_orphans": False}),
    ("audit", "audit_names", ["a"], {"names": ["a"]}),
    ("spend", "spend_since", "2026-12-01", {"since": "2026-12-01"}),
    ("orphan", "end_reason", "left", {"reason": "left"}),
    ("reap", "reap_grace", 0, {"grace": 0}),
    ("reap", "reap_by_name", "no", {"by_name": "no"}),
    ("named", "decommission_hosts", "a,b", {"hosts": "a,b"}),
    ("named", "extend_hosts", "a,b", {}),
    ("extend", "extend_by", "4h", {"by": "4h"}),
    ("extend", "extend_until", "later", {"until": "later"}),
    ("offers", "offers_spec", {"region": "EU"}, {"spec": {"region": "EU"}}),
    ("probe", "probe_wrong_token", False, {"wrong_token": False}),
    ("timer", "reap_timer_every", "5m", {"every": "5m"}),
    ("plan", "names", "a", {}),
]


@pytest.mark.parametrize(("step", "variable", "value", "options"), VARIABLES_OF_PLAYBOOKS, ids=str)
def test_variables_of_a_playbook_become_options_of_its_step(
    step: str, variable: str, value: Any, options: dict[str, Any]
) -> None:
    template = getattr(ansible.template, "trust_as_template", str)("{{ typo }}")
    templar = ansible.template.Templar(DataLoader(), variables={})
    action = decide.ActionModule(Mock(args={"step": step}), *[Mock()] * 3, templar, Mock())
    action.operation = decide.operation_of(decide.STEPS[step])  # type: ignore[misc]

    def given(variables: dict[str, Any]) -> dict[str, Any]:
        return action._of_variables(decide.STEPS[step].prefix, variables)

    assert given({variable: value, "other": 1}) == options
    assert given({variable: ""}) == given({variable: None}) == {}, "an unanswered question of a survey sets nothing"
    if options:
        with pytest.raises(AnsibleActionFail, match=f"^{variable} cannot be evaluated: 'typo' is undefined"):
            given({variable: template})


def test_quote_file_that_cannot_be_evaluated_is_named() -> None:
    template = getattr(ansible.template, "trust_as_template", str)("{{ typo }}.json")
    action = decide.ActionModule(*[Mock()] * 4, ansible.template.Templar(DataLoader(), variables={}), Mock())
    with pytest.raises(AnsibleActionFail, match=r"^quote_file cannot be evaluated: 'typo' is undefined"):
        action._quote_file({"quote_file": template})


def test_unknown_step_fails_with_list_of_steps() -> None:
    with pytest.raises(AnsibleActionFail, match=r"must be one of declare, plan, .*probe, probe_purchase.*, not 'prob'"):
        decide.ActionModule.run(Mock(_task=Mock(args={"step": "prob"})), None, {})


DOCUMENTED = yaml.safe_load(modules_decide.DOCUMENTATION)["options"]


def operations() -> dict[str, Operation]:
    """The operations of the steps that have one."""
    return {name: decide.operation_of(step) for name, step in decide.STEPS.items() if step.operation}


def test_documentation_has_every_step() -> None:
    documented = DOCUMENTED["step"]
    assert documented["choices"] == list(decide.STEPS)
    assert all(f"V({step})" in " ".join(documented["description"]) for step in documented["choices"])


def test_documentation_has_every_option_of_a_task() -> None:
    """ansible-test does not compare them, since the module `decide` consists of documentation only."""
    options = {name: dict(option) for name, option in DOCUMENTED.items() if name != "step"}
    assert all(option.pop("description") for option in options.values())
    assert options == steps.OPTIONS


@pytest.mark.parametrize("option", steps.OPTIONS)
def test_documentation_names_steps_that_take_an_option(option: str) -> None:
    documented = set(re.findall(r"O\(step=(\w+)\)", " ".join(DOCUMENTED[option]["description"])))
    taking = {name for name, operation in operations().items() if option in operation.argument_spec}
    assert documented and documented <= taking


def test_table_of_steps_is_consistent() -> None:
    """Steps have operations, and each prefix is one of a playbook's variables."""
    assert all(isinstance(operation, Operation) for operation in operations().values())
    words = [step.prefix.format(verb=verb) for step in decide.STEPS.values() for verb in ("decommission", "extend")]
    prefixes = set(" ".join(words).split()) - {"registry_"}  # the playbook registry has no variables of its own
    assert all(any(name.startswith(prefix) for name in PLAYBOOK_VARIABLES) for prefix in prefixes)
    assert [name for name, step in decide.STEPS.items() if step.of_batch] == ["end", "ended"]


def test_steps_take_facts_of_the_play_and_tasks_cannot_set_them() -> None:
    taken = set().union(*(operation.argument_spec for operation in operations().values()))
    assert decide.FACTS.keys() <= taken - steps.OPTIONS.keys()
    for name, step in decide.STEPS.items():
        takes = operations()[name].argument_spec if step.operation else {}
        assert {option for option in ("given", "got") if getattr(step, option)} <= takes.keys(), name


def test_importing_decide_imports_no_rarely_used_operations() -> None:
    name = "ansible_collections.compute_index.supply.plugins"
    program = f"import sys, {name}.action.decide; print([each for each in sys.modules if each.startswith('{name}')])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "_operations.judge" in run.stdout
    assert not [
        word for word in ("probe", "audit", "_operations.end", "_operations.reap", "timer") if word in run.stdout
    ]


def test_no_login_names_missing_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decide._no_login({}) == ""
    monkeypatch.setenv("PATH", "")
    assert decide._no_login({}).startswith("This computer has no ssh, so it could not log in")
    assert decide._no_login({"ansible_ssh_executable": "/mine/ssh"}) == ""


def test_no_login_names_user_without_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSH ends at once with "No user exists for uid 12345"."""
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert decide._no_login({}).startswith("ssh does not work for user id 12345, which has no entry in /etc/passwd, so")


@pytest.mark.parametrize("hosts", [1, 40, 500])
def test_one_worker_declares_for_all_hosts_at_any_duration(monkeypatch: pytest.MonkeyPatch, hosts: int) -> None:
    """The output must not depend on the computer's load. Here the templates of each host take an hour."""
    hours = itertools.count(step=3600)
    monkeypatch.setattr("time.monotonic", lambda: next(hours))
    monkeypatch.setattr(decide._task, "PlayVariables", lambda *_play: Mock(of=lambda host: {"host": host}))
    monkeypatch.setattr(decide, "declared", lambda own, _templar, **_extra: own)
    monkeypatch.setattr(decide, "load_extra_vars", lambda loader: {})
    monkeypatch.setattr(decide._task, "why_forbidden", lambda _task: "")
    batch = [f"gpu-{number}" for number in range(hosts)]
    step = decide.ActionModule(Mock(when=[], run_once=True, _parent=None), *[Mock()] * 5)
    found = step._declare({"ansible_play_batch": batch, "provision__group": "gpu"})
    assert found["all_declared"] and list(found["declarations"]) == batch


def test_later_round_keeps_plans_of_other_hosts() -> None:
    """The host of the new round gets only its new plan: the offer of the round before no longer holds."""
    plans = {host: {"host": host, "declaration": host, "round": "first", "next": ""} for host in HOSTS}
    own: dict[str, dict[str, Any]] = {
        host: {
            "inventory_hostname": host,
            "provision__declared": Declared(
                {host: {"host": host, "id": host, "max_total_price_per_hour": "", "budget": ""}}
            ).mapping,
            "provision__planned": {"plans": plans, "common": Common(round="first", decided=HOSTS).mapping},
        }
        for host in HOSTS
    }
    own["gpu-1"]["provision__verdict"] = HostVerdict(round="first", again=True).mapping
    batch = {f"ansible_play_{name}": list(HOSTS) for name in ("batch", "hosts", "hosts_all")}
    step = decide.ActionModule(Mock(args={"step": "plan"}, retries=1, _parent=None), *[Mock()] * 5)
    gathered = step._plan({"inventory_hostname": "gpu-1", "hostvars": Mock(raw_get=own.get), **batch})
    assert [one["host"] for one in gathered["hosts"]] == ["gpu-1"]
    assert step._by_host({})["plans"] == {"gpu-2": plans["gpu-2"]}
    plan = {"host": "gpu-1", "label": "x", "attempts": [], "facts": {}}
    for action in ("buy", "wait", "stop", "later", "keep"):
        found = step._by_host({"plans": [{**plan, "action": action}]})
        assert found["known"] == ([plan] if action == "keep" else [])


@pytest.mark.parametrize(
    ("step", "spec", "args", "variable"),
    [
        ("audit", steps.AUDIT, {"names": {"a": 1}}, "audit_names"),
        ("audit", steps.AUDIT, {"fail_on_orphans": "perhaps"}, "audit_fail_on_orphans"),
        ("audit", steps.AUDIT, {"settle": [1]}, "audit_settle"),
        ("reap", steps.REAP, {"by_name": "1h"}, "reap_by_name"),
        ("probe_purchase", steps.PROBE_PURCHASE, {"buy": "perhaps"}, "probe_buy"),
        ("probe", steps.PROBE, {"wrong_token": {}}, "probe_wrong_token"),
        ("end", steps.END, {"forget": {"a": 1}}, "decommission_forget"),
        ("timer", steps.TIMER, {"state": "off"}, "reap_timer_state"),
    ],
)
def test_option_error_names_variable_of_playbook(step: str, spec: Any, args: Any, variable: str) -> None:
    action = decide.ActionModule(Mock(args={"step": step}), *[Mock()] * 5)
    (msg,) = ArgumentSpecValidator(spec).validate({"step": step, **args}).error_messages
    words = (f"{variable} is of type", f"Elements value {variable}", f"{variable} must be one of")
    assert action.option_error(msg).startswith(words)


@pytest.mark.parametrize(
    ("given", "items"),
    [("a, b,,", ["a", " b"]), ("", []), (None, []), (["a"], ["a"]), (("a",), ["a"]), (True, [True]), (5, [5])],
)
def test_listed_accepts_any_form_of_ids(given: Any, items: list[Any]) -> None:
    assert decide._listed(given) == items


def test_reports_and_texts_are_wrapped_to_the_screen() -> None:
    long = " ".join(["word"] * 40)
    action = decide.ActionModule(Mock(args={"step": "audit"}), *[Mock()] * 5)
    action.operation = steps.AUDIT
    for lines in (
        action._completed({"lines": ["short", long]})["lines"][1:],
        LookupModule().run([], {}, text=long),
    ):
        assert len(lines) == 3 and max(map(len, lines)) <= LINE and " ".join(map(str.strip, lines)) == long


def test_play_that_starts_in_middle_of_role_is_refused() -> None:
    variables = {"inventory_hostname": "gpu-1"}
    with pytest.raises(AnsibleActionFail, match="gpu-1 has declared nothing, so nothing can be"):
        decide._undecided({"gpu-2": {"host": "gpu-2", "id": "2"}}, (), variables)
    assert decide._undecided({"gpu-1": {"host": "gpu-1", "id": "1"}}, ("1",), variables) == []


def test_lookup_plan_returns_time_limit_of_test_level() -> None:
    seconds = {level: LookupModule().run([], {}, level=level) for level in (*TIMEOUTS, "none")}
    assert seconds == {"specs": [3660], "health": [180], "load": [660], "burnin": [3660], "none": [3660]}


def test_delay_of_loops_matches_divisor_of_their_retries() -> None:
    files = [path for folder in ("roles", "playbooks") for path in (ROOT / folder).rglob("*.yml")]
    loops = re.findall(r"retries: \"(.*)\"\n\s+delay: ([0-9]+)\n", "".join(path.read_text() for path in files))
    computed = [(retries, delay) for retries, delay in loops if "//" in retries]
    assert len(computed) == 2 and all(retries.endswith(f"// {delay} }}}}") for retries, delay in computed)


def test_newest_prefers_second_answer_unless_skipped() -> None:
    first, again = {"state": "idle"}, {"state": "active"}
    assert decide.newest(first, again) == again
    assert decide.newest(first, {"skipped": True}) == decide.newest(first, None) == first
    assert decide.newest(first, {"unreachable": True}) == {"unreachable": True}
