# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An ordinary user without a login installs and removes the timer of sweeps on a real computer with systemd."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Backend, Machine, MakeProject, Project
from limits import until
from simulator import Offer

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ansible", "jinja2", "markupsafe", "yaml", "packaging", "resolvelib", "cryptography", "_cffi_backend")
PACKAGES += ("requests", "urllib3", "idna", "certifi", "charset_normalizer")
PLAYBOOK = """\
#!/usr/bin/python3
import sys
sys.path.insert(0, "/opt/python")
from ansible.cli.playbook import main
main()
"""
PORT = 8402
TOKEN = "demo-token"
#: What a unit, a shell or cron would take for its own. Quotes and dollars in a home are too much for Ansible itself.
HOME = "/home/o dd %h ü"
FOLDER = f"{HOME}/my %n 'in' \"v\" $x ü"
#: What pam_systemd does, which a small image has not.
DROP_IN = "[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n"
INSIDE = {
    "PATH": "/opt/ansible/bin:/usr/bin:/bin",
    "COMPUTE_INDEX_API_URL": f"http://127.0.0.1:{PORT}",
    "COMPUTE_INDEX_API_TOKEN": TOKEN,
    "ANSIBLE_COLLECTIONS_PATH": "/opt/collections",
    "ANSIBLE_LOCALHOST_WARNING": "false",
    "LC_ALL": "C.UTF-8",
}


def install(disk: Path) -> None:
    """Copy this Python's Ansible and the collection to a machine's disk.

    What this Python has compiled comes along, since the user may not write there: each play would compile all of it.
    """
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        source = Path(spec.origin)
        (disk / "opt" / "python").mkdir(parents=True, exist_ok=True)
        if source.name == "__init__.py":
            shutil.copytree(source.parent, disk / "opt" / "python" / name)
        else:
            shutil.copy(source, disk / "opt" / "python")
    collection = disk / "opt" / "collections" / "ansible_collections" / "compute_index" / "supply"
    for name in ("plugins", "playbooks", "roles", "meta"):
        shutil.copytree(ROOT / name, collection / name, ignore=shutil.ignore_patterns("*.pyc"))
    program = disk / "opt" / "ansible" / "bin" / "ansible-playbook"
    program.parent.mkdir(parents=True)
    program.write_text(PLAYBOOK)
    program.chmod(0o755)


class Controller:
    """A machine that runs the collection as a user who is not root and has not logged in."""

    def __init__(self, project: Project, machine: Machine) -> None:
        self.project, self.machine = project, machine
        self.name = ""

    @contextlib.contextmanager
    def reaching_the_api(self) -> Iterator[None]:
        """Forward the machine's requests, since the simulated API listens on this computer only."""
        port = self.project.simulator.url.rpartition(":")[2]
        command = ["ssh", "-i", str(self.project.key), "-F", "none", "-o", "BatchMode=yes", "-N"]
        command += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        command += ["-R", f"{PORT}:127.0.0.1:{port}", f"root@{self.machine.address}"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as forward:
            try:
                until(lambda: "open" in self.machine.run(f"(: </dev/tcp/127.0.0.1/{PORT}) 2>&1 && echo open || true"))
                yield
            finally:
                forward.kill()

    def run(self, script: str) -> str:
        """The output of a script of the user, which may fail."""
        exports = "; ".join(f"export {name}={shlex.quote(value)}" for name, value in INSIDE.items())
        whole = f"{exports}; export XDG_RUNTIME_DIR=/run/user/$(id -u); cd {shlex.quote(FOLDER)}; {script}"
        return self.machine.run(f"runuser -l odd -c {shlex.quote(f'({whole}) 2>&1 || echo FAILED $?')}")

    def play(self, words: str = "") -> str:
        """The output of the playbook."""
        return self.run(f"ansible-playbook -i inventory compute_index.supply.reap_timer {words}")

    def files(self) -> list[str]:
        """All traces of the timer."""
        return self.run("find ~ -name '*supply-reap*' | sort").splitlines()


@pytest.fixture
def controller(rent: MakeProject, backend: Backend) -> Controller:
    project = rent([Offer()])
    assert project.provision().returncode == 0
    entry = project.registry("gpu-1")
    assert entry is not None
    machine = Machine(project, entry["ansible_host"])
    version = machine.run("python3 -c 'import sys; print(*sys.version_info[:2])'").split()
    if version != list(map(str, sys.version_info[:2])):
        pytest.skip(f"the machine has Python {'.'.join(version)}, and these packages are not for it")
    # Not resolved: outside of the machine its path means another disk.
    install(Path(os.readlink(backend.folder(entry["provision_resource_ids"][0]) / "home")).parent)
    machine.run(f"useradd --create-home --home-dir {shlex.quote(HOME)} odd 2>&1 || mkdir {shlex.quote(HOME)}")
    home, inventory = shlex.quote(HOME), shlex.quote(f"{FOLDER}/inventory")
    machine.run(f"mkdir -p {inventory}; echo gpu-1 >{inventory}/hosts; chown -R odd {home}")
    folder = "/etc/systemd/system/user@.service.d"
    machine.run(f"mkdir {folder}; echo {shlex.quote(DROP_IN)} >{folder}/runtime.conf; systemctl daemon-reload")
    return Controller(project, machine)


def test_timer_of_a_user_sweeps_and_leaves_no_traces(controller: Controller) -> None:
    machine = controller.machine
    with controller.reaching_the_api():
        refused = controller.play()
        assert "sudo loginctl enable-linger odd" in refused and "FAILED" in refused, refused
        assert controller.files() == []
        machine.run("loginctl enable-linger odd")
        until(lambda: controller.run("systemctl --user is-active default.target") == "active\n")

        shown = controller.play("--check --diff -e reap_timer_every=10m")
        assert "+OnCalendar=*:0/10" in shown and TOKEN not in shown and "FAILED" not in shown, shown
        first = controller.play()
        assert '"systemd: OnCalendar=*:0/15"' in first and "succeeded" in first and "FAILED" not in first, first
        again = controller.play()
        assert "changed=0" in again and "FAILED" not in again, again

        name = "supply-reap-" + first.partition('"supply-reap-')[2][:8]
        kept = f"{shlex.quote(HOME)}/.config/{name}"
        swept = f"{FOLDER}/inventory/host_vars/.compute_index_supply.swept"
        assert machine.run(f"cat {shlex.quote(swept)}").startswith("20")
        assert machine.run(f"stat -c '%a %U' {kept}/sweep") == "600 odd\n"
        machine.run(f"rm {kept}/last {kept}/output")
        controller.run(f"systemctl --user start {name}.service")
        assert f"{name}.timer" in controller.run("systemctl --user list-timers")
        assert "No lease is over." in machine.run(f"cat {kept}/output") and machine.run(f"cat {kept}/last") == "0\n"
        public = f"journalctl --no-pager _UID=$(id -u odd); runuser -l odd -c 'systemctl --user cat {name}.*'; ps -ef"
        assert TOKEN not in machine.run(f"export XDG_RUNTIME_DIR=/run/user/$(id -u odd); {public} 2>&1")

    # The API is gone.
    controller.run(f"systemctl --user start {name}.service")
    failed = controller.play("-e reap_timer_state=show")
    assert "The last sweep failed at" in failed and f"{name}/output." in failed and "FAILED" in failed, failed

    checked = controller.play("-e reap_timer_state=absent --check")
    assert "changed=0" not in checked and f"{name}.timer" in controller.run("systemctl --user list-timers"), checked
    removed = controller.play("-e reap_timer_state=absent")
    assert "No sweeps are scheduled" in removed and "FAILED" not in removed, removed
    assert controller.files() == []
    assert "0 loaded units" in controller.run("systemctl --user --failed")
    assert name not in controller.run("systemctl --user list-units --all; systemctl --user list-unit-files")
