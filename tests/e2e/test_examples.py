# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation's examples that need neither a GPU nor the Internet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from conftest import Machine, MakeProject
from project import extra
from simulator import Nowhere, Offer, Settings, Simulator

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def test_examples(rent: MakeProject) -> None:
    """The training node boots. The others would need the Internet, so only their user data is checked there."""
    project = rent([Offer(gpu_count=8)])
    cluster = Offer(gpu_count=24, node_count=3, gpu_price_per_hour=3.0)
    shutil.copytree(EXAMPLES, project.folder, dirs_exist_ok=True)
    inventories = sorted(file.stem for file in EXAMPLES.glob("*.yml") if not file.stem.endswith("_site"))
    user_data = {}
    settings = Settings(provision_seconds=0, reissue=False)
    with Simulator(settings, offers=[Offer(), Offer(), cluster], backend=Nowhere()) as others:
        for name in inventories:
            simulator = project.simulator if name == "training" else others
            options = {
                "provision_ssh_public_key_file": f"{project.key}.pub",
                "ansible_ssh_private_key_file": str(project.key),
                "provision_poll_delay": 1,
                "provision_reach": name == "training",
                **({"provision_group": "cluster", "provision_offer_id": cluster.offer_id} if name == "ray" else {}),
            }
            words = ("-i", f"{name}.yml", "compute_index.supply.provision", *extra(options))
            run = project.run("ansible-playbook", *words, COMPUTE_INDEX_API_URL=simulator.url)
            assert run.returncode == 0, run.output
            assert "[WARNING]" not in run.output
            user_data[name] = simulator.purchases[-1].request["cloud_init"]

    entry = project.registry("train-1")
    assert entry is not None
    machine = Machine(project, entry["ansible_host"])
    status = json.loads(machine.run("cloud-init status --format=json"))
    assert (status["status"], status["errors"], status["recoverable_errors"]) == ("done", [], {})
    assert machine.run(
        "stat --format='%U %n' /data/README /data/checkpoints; swapon --show --noheadings"
    ).splitlines() == [
        "ml /data/README",
        "ml /data/checkpoints",
    ]
    assert len(user_data) == 4
    for name, text in user_data.items():
        check = f"cat > user-data <<'END'\n{text}END\ncloud-init schema --annotate --config-file user-data 2>&1"
        said = machine.run(check)
        assert "Valid schema" in said and "deprecat" not in said, f"{name}: {said}"
