# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures what the test of a machine costs that machine, with stand-ins for the programs of eight GPUs.

``PYTHONPATH=tests python tests/tools/acceptance_cost.py`` prints the processor time of `health`, of the module and all
that it starts, and how long the module takes if eight GPUs hang whatever asks them: one limit, not eight.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu_records import Machine

MODULE = "ansible_collections.compute_index.supply.plugins.modules.gpu_acceptance"
LIMIT = 3.0  # seconds for each program
HANGS = "trap '' TERM INT; sleep 600"


def programs(machine: Machine) -> dict[str, str]:
    """The scripts of a machine's programs."""
    smi = f"case $1 in nvlink) {prints(machine.nvlink())} ;; *) {prints(machine.smi())} ;; esac"
    return {"nvidia-smi": smi, "journalctl": prints(machine.kernel_log()), "systemctl": "echo active"}


def prints(text: str) -> str:
    """A command that prints the text."""
    return f"cat <<'END'\n{text}\nEND\n"


def measured(scripts: dict[str, str], **options: object) -> tuple[float, float, dict[str, object]]:
    """Seconds of processor time, seconds, and the result of the module, where these programs are."""
    with tempfile.TemporaryDirectory() as folder:
        for name, script in scripts.items():
            path = Path(folder, name)
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        arguments = Path(folder, "arguments")
        arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", MODULE, str(arguments)],
            env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            check=True,
        )
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return used, seconds, json.loads(done.stdout)


def main() -> None:
    """Measure both, and print it."""
    machine = Machine()
    used, _seconds, result = measured(programs(machine), level="health", expected=machine.offer)
    print(f"health: {used:.2f} s of processor time, verdict {result['verdict']}, at most 5 s")
    hanging = dict.fromkeys(("nvidia-smi", "dcgmi"), HANGS)
    _used, seconds, result = measured(hanging, level="burnin", expected=machine.offer, tool_timeout=LIMIT)
    print(f"eight GPUs that hang: {seconds:.1f} s with a limit of {LIMIT:g} s, {result['reasons']}")


if __name__ == "__main__":
    main()
