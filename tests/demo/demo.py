# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of two machines of the simulated API: found, quoted, bought, configured, used, ended.

One of them has a lease. To reach its end, the demo moves the clocks of the API and of the plays. The other one has
storage, which stays after the machine until it is ended as well.

Everything except the machines is real: playbooks run by ansible-playbook, HTTP, rendered cloud-init, SSH. The demo
works in .build/demo, keeps its keys there, and stops everything that it starts. Of Ansible's output it shows the tasks
that change or show something; ``--all`` shows all tasks.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import screen

HERE = Path(__file__).resolve().parent
WORK = HERE.parents[1] / ".build" / "demo"
CLOCK = WORK / "clock"  # a file with the seconds by which the API's clock is ahead
LATER = 8 * 3600 + 600
INVENTORY = WORK / "inventory"
START_SECONDS = 30
STOP_SECONDS = 10
MOST_LINES = 250
"""Lines of 80 columns that a person reads before looking away."""
ALL = "--all" in sys.argv
# The lines of a task that changes and shows nothing
QUIET = re.compile(r"(ok|skipping): \[[^]]*\]( => \(item=.*\))?$|included: ")
# The recap of a play that only reads, and has no other host
OF_READING = re.compile(r"localhost .* changed=0 ")

printed: list[str] = []


def show(line: str) -> None:
    """Print a line, and remember it."""
    printed.append(line)
    print(line, flush=True)


def say(text: str) -> None:
    """Print a heading."""
    show("")
    show(f"\033[1m# {text}\033[0m" if sys.stdout.isatty() else f"# {text}")


def prepare() -> None:
    """Make a new working folder with the demo's inventory and a new key pair."""
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.copytree(HERE / "inventory", INVENTORY)
    CLOCK.write_text("0")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", str(WORK / "id_ed25519")], check=True
    )


def start_simulator() -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """Start the simulated API as a process, and return it with the environment variables for its users."""
    exports = WORK / "simulator.env"
    with (WORK / "simulator.log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "simulator",
                # Real machines take minutes, and each check of them would be a line.
                "--provision-seconds=0",
                "--procure-seconds=0.3",
                "--delete-seconds=0",
                "--environment-file",
                str(exports),
                "--clock-file",
                str(CLOCK),
            ],
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + START_SECONDS
    while not exports.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            sys.exit(f"The simulator did not start:\n{(WORK / 'simulator.log').read_text()}")
        time.sleep(0.05)
    return process, dict(re.findall("^export (.*)=(.*)$", exports.read_text(), re.MULTILINE))


def play(arguments: str, environment: dict[str, str]) -> int:
    """Run playbooks with the demo's inventory, and return the number of changes in the recap."""
    return run(f"ansible-playbook -i inventory {arguments}", environment)


def _folded(command: str) -> str:
    """A command as a person would write it in a terminal of 80 columns."""
    lines = textwrap.wrap(command.replace(" -e ", " -e\0"), 74, break_long_words=False, break_on_hyphens=False)
    return " \\\n    ".join(lines).replace("\0", " ")


def run(command: str, environment: dict[str, str]) -> int:
    """Show and run a command, and return the number of changes in Ansible's recap."""
    show(f"$ {_folded(command)}")
    output: list[str] = []
    with subprocess.Popen(command.split(), cwd=WORK, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = _noted(process.stdout, output)
        for line in lines if ALL or command.startswith("ssh") else excerpt(lines):
            show(line)
    if process.returncode != 0:
        print(*output, sep="\n")
        sys.exit(f"The demo failed: {command.split()[0]} ended with exit code {process.returncode}.")
    return sum(int(count) for line in output for count in re.findall(r"\bchanged=(\d+)", line))


def _noted(stream: Iterable[str], output: list[str]) -> Iterator[str]:
    """Yield the lines of a stream, and add each to the output."""
    for line in stream:
        output.append(line.rstrip("\n"))
        yield output[-1]


def excerpt(lines: Iterable[str]) -> Iterator[str]:
    """Yield the tasks that change or show something, each as soon as it is over, and the recaps."""
    begin: tuple[str, ...] = ()
    for block in _blocks(lines):
        head, *rest = map(screen.plain, block)
        is_quiet = head.startswith("TASK [") and ": Show " not in head and all(map(QUIET.match, rest))
        is_of_reading = head.startswith("PLAY RECAP") and all(map(OF_READING.match, rest))
        if not (is_quiet or is_of_reading or head.startswith("PLAY [")):
            yield from (*begin, *block)
            begin = ("",)


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield the blocks of lines between empty lines."""
    block: list[str] = []
    for line in lines:
        if screen.plain(line):
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block


def move_clock(environment: dict[str, str]) -> dict[str, str]:
    """Move the API's clock, and return the environment variables that move the clock of plays."""
    CLOCK.write_text(str(LATER))
    path = [str(HERE.parent / "clock"), *filter(None, [environment.get("PYTHONPATH")])]
    return {"SUPPLY_CLOCK_AHEAD": str(LATER), "PYTHONPATH": os.pathsep.join(path)}


def requests(line: str) -> int:
    """The number of requests with this line in the API's log."""
    return (WORK / "simulator.log").read_text().count(line)


def purchases() -> int:
    """The number of purchases that have reached the API."""
    return requests("POST /procure_offer")


def main() -> None:
    """Run the demo."""
    prepare()
    simulator, variables = start_simulator()
    # A path below the clone can be too long for the sockets of SSH's shared connections.
    sockets = tempfile.mkdtemp(prefix="supply-")
    environment = {
        **os.environ,
        **variables,
        "ANSIBLE_HOME": str(WORK / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(WORK / "ansible" / "tmp"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
        "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
        # Ansible warns if there is no inventory, but some playbooks need none.
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_FORCE_COLOR": str(sys.stdout.isatty()),
    }
    try:
        say("1. What does the market have? This needs no inventory.")
        run("ansible-playbook compute_index.supply.offers", environment)
        say("2. Which offers would the two hosts of the inventory get? This buys nothing.")
        play("compute_index.supply.quote", environment)
        quoted = purchases()
        say("3. Buy the machines, wait until they run, and configure them over SSH.")
        play("compute_index.supply.provision compute_index.supply.configure", environment)
        bought = purchases()
        say("4. Log in.")
        run("ssh -F inventory/host_vars/.ssh_config gpu-1 nvidia-smi -L", environment)
        say("5. Run provision again. It buys nothing.")
        changed = play("compute_index.supply.provision", environment)
        say("6. End gpu-2. Its storage stays, with its data.")
        play("compute_index.supply.decommission -e decommission_hosts=gpu-2", environment)
        by_hand = requests("DELETE /resources/")
        say("7. The clock moves by 8 h: a sweep ends gpu-1, ten minutes after its lease.")
        environment |= move_clock(environment)
        play("compute_index.supply.reap", environment)
        swept = requests("DELETE /resources/") - by_hand
        say("8. What is still billed? End that as well.")
        play("compute_index.supply.audit", environment)
        play("compute_index.supply.decommission -e decommission_hosts=gpu-2 -e decommission_storage=end", environment)
        by_hand = requests("DELETE /resources/") - swept
        say("9. What has it cost, at most?")
        play("compute_index.supply.spend", environment)
        say(f"Purchases for the quote: {quoted}. In the first run: {bought}. In the second: {purchases() - bought}.")
        show(f"The second run changed {changed} things.")
        show(f"Ended: {by_hand} by hand, a machine and its storage; {swept} by the sweep. Nothing is billed.")
        if (quoted, bought, purchases(), changed, swept, by_hand) != (0, 2, 2, 0, 1, 2):
            sys.exit("The demo failed: this should have been 0, 2 and 0 purchases, 0 changes, and 3 ends.")
        show(f"Look around in {WORK.relative_to(HERE.parents[1])}: simulator.log has all requests.")
        show("`make demo ARGS=--all` shows each task; `make sandbox` keeps the API running.")
        if not ALL and screen.lines("\n".join(printed)) > MOST_LINES:
            sys.exit(f"The demo failed: it prints more than {MOST_LINES} lines of {screen.COLUMNS} columns.")
    finally:
        simulator.terminate()
        try:
            simulator.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            simulator.kill()
        shutil.rmtree(sockets, ignore_errors=True)


if __name__ == "__main__":
    main()
