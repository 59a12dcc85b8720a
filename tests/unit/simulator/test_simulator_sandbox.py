# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox: ``python -m simulator`` as a separate process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from limits import HANGS
from simulator.catalogue import default_offers

Make = Callable[..., Any]
TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/run.md"])
def test_sandbox_has_offers_for_the_runs_in_the_pages(page: str) -> None:
    text = (TESTS.parent / page).read_text()
    count, gpu = re.findall(r"-e run_gpu=(?:(\d+)x)?(\w+)", text)[0]
    (bill,), hours = re.findall(r"-e run_max_bill=(\d+)", text), re.findall(r"-e run_time=(\d+)h", text) or ["0.17"]
    offers = [offer for offer in default_offers() if gpu.lower() in offer.gpu_type.lower()]
    on_demand = [offer for offer in offers if offer.contract_type != "spot" and offer.gpu_count == int(count or 1)]
    least = min(offer.gpu_price_per_hour * offer.gpu_count for offer in on_demand if offer.gpu_price_per_hour)
    assert least * (float(hours[0]) + 1) <= int(bill)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sandbox_runs_until_it_gets_a_signal(tmp_path: Path, until: Make, number: signal.Signals) -> None:
    file = tmp_path / "sandbox.env"
    occupied = socket.create_server(("127.0.0.1", 0))
    port = str(occupied.getsockname()[1])
    command = [
        sys.executable,
        "-m",
        "simulator",
        "--port",
        port,
        "--token",
        "t",
        "--provision-seconds",
        "0",
        "--procure-seconds",
        "0",
        "--environment-file",
        str(file),
    ]
    collections = {"ANSIBLE_COLLECTIONS_PATH": "/a clone/.build/dev"}
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "TMPDIR": str(tmp_path), **collections}
    pipe = subprocess.PIPE
    with occupied, subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            # The requested port is occupied, so the sandbox uses another one.
            url = process.stdout.readline().strip()
            printed = [process.stdout.readline().strip() for _line in range(3)]
            until(file.exists)
            shell = {"HOME": "/a home", "PATH": "/bin:/usr/bin"}
            sourced = subprocess.check_output(["sh", "-c", f"{printed[1]}; env"], text=True, env=shell, cwd="/")
            headers = {"Authorization": "Bearer t"}
            found = requests.post(
                url + "/get_offers",
                data="compute: {gpu_type: L4}",
                timeout=HANGS,
                headers={**headers, "Content-Type": "application/yaml"},
            ).json()["offers"]
            # Offers have no more vCPUs than this computer, so that its machines pass the acceptance test.
            assert {offer["vcpu_count"] for offer in found} == {min(16, len(os.sched_getaffinity(0)))}
            bought = requests.post(
                url + "/procure_offer",
                timeout=HANGS,
                headers=headers,
                json={"offer_id": found[0]["offer_id"], "ssh_public_key": "ssh-x"},
            ).json()
            assert bought["status"] == "procured"
            assert list(tmp_path.glob("supply-simulator-*"))
        finally:
            process.send_signal(number)
            log = process.communicate(timeout=HANGS)[1]
    assert process.returncode == 0
    assert not url.endswith(":" + port)
    assert printed[1:] == [f". {file}", "Stop with ctrl-c."]
    assert {
        f"COMPUTE_INDEX_API_URL={url}",
        "COMPUTE_INDEX_API_TOKEN=t",
        f"PATH={os.path.dirname(sys.executable)}:/bin:/usr/bin",
        "ANSIBLE_COLLECTIONS_PATH=/a clone/.build/dev:/a home/.ansible/collections:/usr/share/ansible/collections",
    } <= set(sourced.splitlines())
    assert not file.exists(), "the file names a sandbox that has ended"
    assert re.findall(r"(POST|GET) (/\S+) (\S+)", log) == [
        ("POST", "/get_offers", "200"),
        ("POST", "/procure_offer", "200"),
    ]
    assert not list(tmp_path.glob("supply-simulator-*"))
