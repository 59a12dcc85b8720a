# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a token holder learns of the API: for people, for workflows, and as a recording for the simulator."""

from __future__ import annotations

import json
import re
from typing import Any

from conftest import MakeProject, Project, Run, core
from simulator import Offer
from simulator.like import switches


def probe(project: Project, *words: str) -> tuple[dict[str, Any], list[str], Run]:
    """What the playbook publishes, the lines that it shows to people, and its run."""
    before = len(project.simulator.requests)
    run = project.play("compute_index.supply.probe", *words, ANSIBLE_SHOW_CUSTOM_STATS="1")
    shown = re.search(r"RUN: (\{.*\})", run.output, re.DOTALL)
    lines = [json.loads(each.rstrip(",")) for each in re.findall(r'^ {8}(".*)$', run.output, re.MULTILINE)]
    sent = project.simulator.requests[before:]
    assert {(each.method, each.path) for each in sent if each.method != "GET"} <= {("POST", "/get_offers")}
    return json.loads(shown[1])["probe"] if shown else {}, lines, run


@core
def test_what_the_api_does_is_told_and_recorded(make_project: MakeProject) -> None:
    settings = {"vocabulary": "B", "list_envelope": "items", "deleted_readable": False, "auth_failure_status": 403}
    project = make_project([Offer() for _number in range(4)], provision_seconds=0, **settings)
    project.declare(["gpu-1", "gpu-2"], provision_reach=False)
    assert project.provision().returncode == 0
    ended = project.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu-2")
    assert ended.returncode == 0, ended.output
    file = project.folder / "recording.json"

    published, lines, run = probe(project, "-e", "probe_recording=recording.json", "--check")
    assert run.returncode == 0 and run.changed == 0 and not file.exists(), run.output

    published, lines, run = probe(project, "-e", "probe_recording=recording.json", "--limit", "gpu-1")
    assert run.returncode == 0 and run.changed == 1, run.output
    assert published["contradicted"] == ["wrong-token", "vocabulary", "list-bare", "deleted-read"]
    assert {"names", "deleted-listed", "ssh-port", "sync"} <= set(published["confirmed"])
    assert set(published["not_seen"]) <= {"busy", "search-clusters"}
    assert max(map(len, lines)) <= 80
    assert lines[-1] == f"{len(published['confirmed'])} confirmed, 4 contradicted, 2 not seen"
    seen = switches(str(file))
    assert {name: seen[name] for name in settings} == settings

    own = [project.simulator.settings.token, *project.simulator.offers, *project.simulator.resources, "gpu-1", "gpu-2"]
    assert not [each for each in own if each in file.read_text()]
    assert not [each for each in own[:-2] if each in run.output]
    assert file.stat().st_mode & 0o777 == 0o600


def test_without_a_wrong_token_none_is_sent(project: Project) -> None:
    published, _lines, run = probe(project, "-e", "probe_wrong_token=false")
    assert run.returncode == 0 and "wrong-token" in published["not_seen"], run.output
    assert {each.status for each in project.simulator.requests} <= {200, 404, 422}


def test_a_token_that_is_refused_is_a_failure(project: Project) -> None:
    project.environment["COMPUTE_INDEX_API_TOKEN"] = "an-old-token"
    published, _lines, run = probe(project)
    assert run.returncode != 0 and published == {}
    assert "GET /resources answered 401: Invalid token. Check api_token" in run.text, run.output


def test_an_api_that_cannot_be_reached_is_a_failure(project: Project) -> None:
    project.environment["COMPUTE_INDEX_API_URL"] = "http://127.0.0.1:9"
    _published, _lines, run = probe(project)
    assert run.returncode != 0 and "GET /resources brought no answer" in run.text, run.output
