# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator's real machines: each has its own disk, keys and network, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from functools import partial
from pathlib import Path

from conftest import Backend, Machine, MakeProject, cgroups
from limits import until
from simulator.instances import MARK, marked_processes
from simulator.nspawn import image_name, read

#: Starts a machine in a folder, says where its own folder is, and hangs.
OWNER = """
import asyncio, pathlib, sys, time
from simulator.nspawn import NspawnBackend
backend = NspawnBackend(pathlib.Path(sys.argv[1]))
asyncio.run(backend.start("machine", "ssh-ed25519 AAAA", None))
print(backend.folder("machine"), backend.machines["machine"].cable, flush=True)
time.sleep(600)
"""


def has_booted(machine: Machine) -> bool:
    """Whether the machine answers, and its first boot is over."""
    try:
        machine.run("cloud-init status --wait")
    except AssertionError:
        return False
    return True


def test_machines_share_nothing(backend: Backend, rent: MakeProject) -> None:
    project = rent([])
    script = "#!/bin/sh\necho booted > ~root/note\n"

    async def boot() -> list[Path]:
        addresses = [
            await backend.start("plain", project.public_key, None),
            await backend.start("scripted", project.public_key, script),
        ]
        plain, scripted = machines = [Machine(project, address.ip) for address in addresses]
        for machine in machines:
            await asyncio.to_thread(until, partial(has_booted, machine))
        assert plain.run("hostname; ls").split() == ["plain"]
        assert scripted.run("hostname; cat note").split() == ["scripted", "booted"]
        assert (backend.folder("scripted") / "home" / "note").read_text() == "booted\n"
        assert (backend.folder("scripted") / "user-data").read_text() == script
        assert not (backend.folder("plain") / "user-data").exists()
        keys = {machine.run("cat /etc/ssh/ssh_host_*_key.pub") for machine in machines}
        identities = {machine.run("cat /etc/machine-id") for machine in machines}
        assert (len(keys), len(identities)) == (2, 2)
        assert not list(backend.image.glob("etc/ssh/ssh_host_*"))

        groups = [group for each in backend.machines for group in cgroups(backend.folder(each))]
        assert all(group.exists() for group in groups)
        return groups

    async def boot_and_close() -> list[Path]:
        try:
            return await boot()
        finally:
            await backend.close()

    groups = asyncio.run(boot_and_close())
    assert not any(group.exists() for group in groups)
    assert not backend.root.exists()


def test_killed_owner_leaves_no_process(backend: Backend, tmp_path: Path) -> None:
    # Builds nothing: the root file system of all is there.
    (tmp_path / image_name()).symlink_to(backend.image)
    clean = [sys.executable, "-m", "simulator.nspawn", "--clean", "--folder", str(tmp_path)]
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        folder, cable = map(Path, owner.stdout.readline().split())
        groups = cgroups(folder)
        assert subprocess.run(clean, stdout=subprocess.PIPE, check=True).stdout == b""
        assert len(marked_processes(f"{MARK}={folder}")) == 2, "unshare and systemd-nspawn"
        assert all(group.exists() for group in groups)
        index = read(cable)
        owner.kill()

    until(lambda: not marked_processes(f"{MARK}={folder}") and read(cable) != index)
    assert folder.exists()
    subprocess.run(clean, check=True)
    assert [each.name for each in tmp_path.iterdir() if each.is_dir()] == [image_name()]
    assert not any(group.exists() for group in groups)
