# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases: end time and largest bill are shown before the purchase, fixed by it, and enforced by sweeps."""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeProject, Project, Run, core
from project import extra

HOUR = 3600
CLOCK = Path(__file__).resolve().parents[1] / "clock"


def later(project: Project, hours: float) -> dict[str, str]:
    """The environment of a play that runs hours later, by the clocks of the API and of this computer."""
    project.simulator.settings.clock_ahead = hours * HOUR
    return {"SUPPLY_CLOCK_AHEAD": str(hours * HOUR), "PYTHONPATH": f"{CLOCK}{os.pathsep}{os.environ['PYTHONPATH']}"}


def moment(text: Any) -> datetime:
    return datetime.fromisoformat(str(text).replace("Z", "+00:00"))


@pytest.mark.first
def test_lease_is_quoted_before_the_purchase_and_fixed_by_it(project: Project) -> None:
    project.declare(["gpu-1", "gpu-2"], provision_lease="8h", provision_max_bill=20)
    quote = project.play("compute_index.supply.quote")
    assert re.search(r"gpu-1, gpu-2: until [-0-9]+ [:0-9]+ UTC, at most USD 36.00 together", quote.output), quote.output
    run = project.provision()
    assert run.returncode == 0, run.output
    assert "1 x H100, USD 2.00/h, USD 16.00 in all" in run.output
    assert "compute_index.supply.reap does, and must run at least once an hour; it has never run here" in run.text
    entry = project.registry("gpu-1")
    assert entry is not None
    (bought,) = project.simulator.purchases[:1]
    duration = moment(entry["provision_ends_at"]) - bought.time
    assert 8 * HOUR <= duration.total_seconds() < 8 * HOUR + 2
    assert (entry["provision_leased"], entry["provision_at_most"]) == ("8h", 16.0)
    again = project.provision()
    assert (again.returncode, again.changed) == (0, 0)


def reap(project: Project, hours: float, *words: str, **variables: Any) -> Run:
    """Sweep, hours later."""
    return project.play("compute_index.supply.reap", *extra(variables), *words, **later(project, hours))


def extend(project: Project, hosts: str, *words: str, **variables: Any) -> Run:
    """Extend the leases of these hosts."""
    return project.play("compute_index.supply.extend", *extra({"extend_hosts": hosts, **variables}), *words)


@pytest.mark.first
@core
def test_sweep_ends_only_machines_whose_lease_is_over(project: Project) -> None:
    project.declare(["gpu-1", "gpu-2", "gpu-3"])
    project.declare_host("gpu-1", provision_lease="8h")
    project.declare_host("gpu-2", provision_lease="3d")
    assert project.provision().returncode == 0
    bought = {each.name: each.resource_id for each in project.simulator.resources.values()}
    early = reap(project, 7.9)
    assert (early.returncode, early.changed) == (0, 0)
    assert "No lease is over." in early.output
    assert re.search(r"2 with time left; the next until [-0-9]+ [:0-9]+ UTC \(gpu-1\)\.", early.text)
    check = reap(project, 8.1, "--check")
    assert f"gpu-1: would end {bought['gpu-1']}, USD" in check.text and "gpu-1: its lease was over at" in check.text
    assert check.returncode == 0 and len(project.simulator.billed) == 3
    assert project.requests("DELETE", ".*") == 0
    run = reap(project, 8.1)
    assert run.returncode == 0, run.output
    assert f"(item={bought['gpu-1']}, USD" in run.text and "gpu-1: its lease was over at" in run.text
    assert set(project.simulator.billed) == {bought["gpu-2"], bought["gpu-3"]}
    assert project.registry("gpu-1") is None
    again = reap(project, 8.2)
    assert (again.returncode, again.changed) == (0, 0)
    # The role has noted a sweep, so it does not warn.
    quote = project.play("compute_index.supply.quote", **later(project, 8.3))
    assert "A lease ends nothing on its own" not in quote.text


def test_sweep_and_decommission_keep_a_protected_machine(project: Project) -> None:
    project.declare(["gpu-1", "gpu-2"], provision_lease="8h")
    project.declare_host("gpu-1", provision_protect=True)
    assert project.provision().returncode == 0
    bought = {each.name: each.resource_id for each in project.simulator.resources.values()}
    assert "provision_protected_since" in (project.registry("gpu-1") or {})
    sweep = reap(project, 8.1)
    assert sweep.returncode == 2 and project.simulator.billed == [bought["gpu-1"]], sweep.output
    assert "The lease of gpu-1 was over at" in sweep.text and "gpu-1 is protected since " in sweep.text
    # Now only the registry has the protection.
    project.declare_host("gpu-1")
    end = extra({"decommission_hosts": "gpu-1"})
    refused = project.play("compute_index.supply.decommission", *end)
    assert refused.returncode == 2 and "gpu-1 is protected since " in refused.failure("gpu-1")
    # A run of provision updates the registry from the variable.
    assert project.provision("--limit", "gpu-1").returncode == 0
    assert "provision_protected_since" not in (project.registry("gpu-1") or {})
    project.declare_host("gpu-1", provision_protect=True)
    assert project.play("compute_index.supply.decommission", *end).returncode == 2
    assert project.simulator.billed == [bought["gpu-1"]]
    allowed = project.play("compute_index.supply.decommission", *end, *extra({"provision_protect": False}))
    assert allowed.returncode == 0 and project.simulator.billed == [], allowed.output


@pytest.mark.first
@core
def test_extension_moves_the_end_within_lease_max_and_max_bill(project: Project) -> None:
    project.declare(["gpu-1"], provision_lease="8h", provision_lease_max="24h", provision_max_bill=40)
    assert project.provision().returncode == 0
    before = moment((project.registry("gpu-1") or {})["provision_ends_at"])
    check = extend(project, "gpu-1", "--check", extend_by="4h")
    assert (check.returncode, moment((project.registry("gpu-1") or {})["provision_ends_at"])) == (0, before)
    assert re.search(r"gpu-1 .* 8\.00 +24\.00", check.text), check.output
    run = extend(project, "gpu-1", extend_by="4h")
    assert (run.returncode, run.changed) == (0, 1), run.output
    entry = project.registry("gpu-1") or {}
    assert (moment(entry["provision_ends_at"]) - before).total_seconds() == 4 * HOUR
    assert entry["provision_at_most"] == pytest.approx(24.0, abs=0.01)
    # An extension does not count as drift.
    assert "differs from its variables" not in project.provision().text
    for variables, message in (
        ({"extend_by": "13h"}, "exceed provision_lease_max (24h)"),
        ({"extend_by": "9h"}, "would cost up to USD 42.00 in all, and provision_max_bill is USD 40.00"),
        ({"extend_by": "9 hours"}, "extend_by must be a duration"),
        ({"extend_until": "2026-01-01T00:00Z"}, "The new end, 2026-01-01 00:00 UTC, has passed"),
        ({}, "extend_by (such as 4h) or extend_until"),
    ):
        refused = extend(project, "gpu-1", **variables)
        assert refused.returncode == 2 and message in refused.text, refused.output
    assert project.registry("gpu-1") == entry
    allowed = extend(project, "gpu-1", extend_by="9h", provision_max_bill=50)
    assert allowed.returncode == 0, allowed.output
    kept = reap(project, 20)
    assert "No lease is over." in kept.text and len(project.simulator.billed) == 1


def test_extension_counts_the_hours_of_this_month_in_the_budget(make_project: MakeProject) -> None:
    """Bought at 20:00 on the last day of a month: only the hours until midnight count, of all hosts together."""
    project = make_project([])
    now = datetime.now(timezone.utc)
    begin = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    midnight = (begin + timedelta(days=62)).replace(day=1)
    hours = (midnight - now).total_seconds() / HOUR - 4
    evening = later(project, hours)
    for _number in range(3):
        project.simulator.add_offer(gpu_price_per_hour=2.0)
    hosts = ["gpu-1", "gpu-2", "gpu-3"]
    project.declare(hosts, provision_lease="2h", provision_budget=20.05, provision_reach=False)
    bought = project.play("compute_index.supply.provision", **evening)
    assert bought.returncode == 0, bought.output

    def ends() -> list[float]:
        entries = [project.registry(host) or {} for host in hosts]
        return [round((moment(entry["provision_ends_at"]) - midnight).total_seconds() / HOUR) for entry in entries]

    # 3 hours more last until 01:00. With 4 and 4 hours until midnight, and 2 of the third host, USD 20.00 are used up,
    # and at most a few cents more, since sums are rounded up.
    for words, after in ((("--check",), [-2, -2, -2]), ((), [1, 1, -2])):
        command = ("compute_index.supply.extend", *extra({"extend_hosts": "gpu", "extend_by": "3h"}), *words)
        run = project.play(*command, **evening)
        assert (run.returncode, ends()) == (2, after), run.output
        assert f"gpu-3: With an end at {midnight:%Y-%m-%d} 01:00 UTC, project default would cost USD 24" in run.text
        assert re.search(r"gpu-2 .* 6\.00 +10\.00", run.text) and "USD more in total: 12.00" in run.text
    # In the new month, gpu-3 runs on although its lease is over. Together they are extended, and alone gpu-1 is not.
    # Only the API's clock noted the lease, and this computer's counts at most an hour of it as over.
    night = later(project, hours + 4.1)
    command = ("compute_index.supply.extend", *extra({"extend_by": "2h"}), "-e")
    run = project.play(*command, "extend_hosts=gpu-1", **night)
    assert (run.returncode, ends()) == (2, [1, 1, -2]), run.output
    assert re.search(rf"in {midnight:%Y-%m}, .* gpu-3 USD \d{{4}}\.\d\d \(runs on\)", run.text), run.output
    run = project.play(*command, "extend_hosts=gpu", **night)
    assert (run.returncode, ends()) == (0, [3, 3, 1]), run.output
    project.declare_host("gpu-2", provision_project="{{ nowhere }}")
    run = project.play(*command, "extend_hosts=gpu-1", **night)
    assert (run.returncode, ends()) == (2, [3, 3, 1]), run.output
    assert "What was spent cannot be read, so provision_budget cannot be checked" in run.text


def test_failing_last_command_postpones_the_end_until_the_grace_is_over(project: Project) -> None:
    """reap_before_end cannot be evaluated, takes too long, would run on the controller, succeeds, or fails."""
    project.declare(["gpu-1", "gpu-2"], provision_lease="8h")
    assert project.provision().returncode == 0
    bought = {each.name: each.resource_id for each in project.simulator.resources.values()}
    unknown = reap(project, 8.2, reap_before_end="{{ nowhere }}/save.sh")
    assert unknown.returncode == 2 and len(project.simulator.billed) == 2, unknown.output
    assert "'nowhere' is undefined" in unknown.text and "reap_before_end failed on it" in unknown.text
    slow = reap(project, 8.2, reap_before_end="sleep 30", reap_before_end_timeout=1)
    assert slow.returncode == 2 and len(project.simulator.billed) == 2, slow.output
    # An inventory may set a local connection for all hosts, but the controller has nothing to save for them.
    here = reap(project, 8.2, reap_before_end=f"touch {project.folder}/saved", ansible_connection="local")
    assert here.returncode == 2 and len(project.simulator.billed) == 2, here.output
    assert (
        "this computer would be asked instead of its machine" in here.text and not (project.folder / "saved").exists()
    )
    (project.simulator.home(bought["gpu-1"]) / "saves").touch()
    # Programs may print bytes that are not UTF-8.
    command = r"test -e saves && printf 'checkpoint kept \377\n' || { echo saving >&2; exit 3; }"
    saved = reap(project, 8.2, reap_before_end=command, reap_grace=30)
    assert saved.returncode == 2 and "checkpoint kept" in saved.output, saved.output
    assert "Its time is over, but reap_before_end failed on it. A sweep ends it anyway" in saved.text
    assert project.simulator.billed == [bought["gpu-2"]]
    anyway = reap(project, 8.6, reap_before_end=command, reap_grace=30)
    assert anyway.returncode == 0, anyway.output
    assert project.simulator.billed == []


@pytest.mark.first
def test_invalid_lease_sends_nothing(project: Project) -> None:
    leases = {"words": "8 hours", "negative": "-1h", "past": "2026-01-01T00:00Z", "number": "8"}
    project.declare(list(leases))
    for host, lease in leases.items():
        project.declare_host(host, provision_lease=lease)
    run = project.provision()
    assert run.returncode == 2, run.output
    for host in leases:
        assert "provision_lease" in run.failure(host), run.output
    assert project.simulator.requests == []


@pytest.mark.parametrize(("controller", "api"), [(24.0, 0.0), (0.0, 0.2)])
def test_differing_clocks_prevent_purchases_with_an_end_or_budget(
    project: Project, controller: float, api: float
) -> None:
    """With a controller a day ahead, a lease of 8 hours would last 32, and cost up to USD 64.00 instead of 20.00."""
    project.declare(["gpu-1", "gpu-2", "gpu-3"])
    project.declare_host("gpu-1", provision_lease="8h", provision_max_bill=20)
    project.declare_host("gpu-2", provision_budget=5000)
    environment = later(project, controller)
    project.simulator.settings.clock_ahead = api * HOUR
    run = project.play("compute_index.supply.provision", **environment)
    assert run.returncode == 2, run.output
    for host in ("gpu-1", "gpu-2"):
        failure = run.failure(host)
        assert len(re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC by (?:this computer|the API)", failure)) == 2, failure
        assert "buys nothing with a lease, a largest bill or a budget" in failure and "Nothing was sent." in failure
    assert [each.name for each in project.simulator.resources.values()] == ["gpu-3"]


def test_sweep_with_differing_clocks_fails_and_uses_the_clock_of_the_purchase(project: Project) -> None:
    """Leases end by the clock that noted the purchase, here the API's; a wrong controller clock shortens none."""
    project.declare(["gpu-1"], provision_lease="8h")
    assert project.provision().returncode == 0
    assert (project.registry("gpu-1") or {})["provision_clock"] == "api"
    environment = later(project, 24)
    project.simulator.settings.clock_ahead = 7 * HOUR
    early = project.play("compute_index.supply.reap", **environment)
    assert early.returncode == 2 and "The clocks differ: it is" in early.text, early.output
    assert len(project.simulator.billed) == 1
    project.simulator.settings.clock_ahead = 8.1 * HOUR
    over = project.play("compute_index.supply.reap", **environment)
    assert over.returncode == 2 and "The clocks differ: it is" in over.text, over.output
    assert project.simulator.billed == []
    assert re.search(r"\(item=[0-9a-f-]{36}, USD 16\.\d\d\)", over.text), over.output
