# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the README's terminal: the output of ``quote`` and ``provision`` on 80 columns, without an inventory.

`make pictures` runs both against the simulated API, in an empty folder, and writes docs/pictures/terminal-*.svg. Only
times are replaced in the output; ``⋮`` stands for tasks that are left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from simulator import Settings, Simulator
from simulator.catalogue import default_offers
from tools import draw

COLUMNS = 80
ORDER = (
    "provision_hosts=1 order_gpu_type=L4 order_contract_type=ondemand",
    "order_max_price_per_hour=1 order_max_total_price_per_hour=1",
    "provision_max_account_price_per_hour=5",
)
# The tasks whose output is shown, by playbook.
SHOWN = {
    "quote": ("Show the quotes",),
    "provision": ("Procure | Buy the offer", "Show what runs, and what it costs"),
}
# Parts of the output that differ each time, with a replacement.
CHANGING = {r"\d{4}-\d\d-\d\d \d\d:\d\d UTC": "2026-12-01 12:30 UTC"}
COLOURS = {"32": "green", "33": "yellow", "35": "magenta", "36": "cyan", "31": "magenta", "30": "muted"}

Line = list[tuple[str, str]]
"""Colours and texts, from left to right."""


def main() -> None:
    """Run the playbooks, and draw their output."""
    screen = screen_of(run())
    for theme in draw.THEMES:
        draw.write("terminal", theme, picture(screen, theme))


def command(playbook: str) -> list[str]:
    """The command that runs a playbook."""
    return ["ansible-playbook", f"compute_index.supply.{playbook}", *(word for each in ORDER for word in ("-e", each))]


def run() -> dict[str, str]:
    """The output of each playbook."""
    settings, printed = Settings(provision_seconds=0), {}
    with tempfile.TemporaryDirectory(prefix="supply-") as folder, Simulator(settings, default_offers()) as api:
        key = Path(folder, "home", ".ssh", "id_ed25519")
        key.parent.mkdir(parents=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "terminal", "-f", str(key)], check=True)
        environment = {
            **os.environ,
            "HOME": str(Path(folder, "home")),
            "ANSIBLE_HOME": str(Path(folder, "home", ".ansible")),
            "ANSIBLE_FORCE_COLOR": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": folder,
            "COMPUTE_INDEX_API_URL": api.url,
            "COMPUTE_INDEX_API_TOKEN": api.settings.token,
        }
        for playbook in SHOWN:
            words = command(playbook)
            words[0] = str(Path(sys.executable).with_name(words[0]))
            done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                sys.exit(f"{playbook} failed:\n{done.stdout}{done.stderr}")
            printed[playbook] = done.stdout
    return printed


def screen_of(printed: dict[str, str]) -> list[Line]:
    """The lines of the screen: the commands, and the shown part of their output."""
    screen = [
        line for playbook, text in printed.items() for line in (*prompt(playbook), *excerpt(text, SHOWN[playbook]), [])
    ]
    return screen[:-1]


def prompt(playbook: str) -> list[Line]:
    """The command as a person types it."""
    lines = [f"$ ansible-playbook compute_index.supply.{playbook} \\", *(f"    -e {quoted(each)} \\" for each in ORDER)]
    lines[-1] = lines[-1].removesuffix(" \\")
    return [[("bold", row)] for line in lines for row in wrapped(line)]


def quoted(word: str) -> str:
    """A word, quoted for a shell."""
    return f'"{word}"' if " " in word else word


def excerpt(output: str, tasks: tuple[str, ...]) -> list[Line]:
    """The output of these tasks, without the others."""
    screen: list[Line] = []
    left_out = False
    for block in re.split(r"\n\n+(?=TASK|PLAY)", output.strip()):
        if not any(f"{task}]" in block.partition("\n")[0] for task in tasks):
            left_out = True
            continue
        screen += [[("muted", "⋮")]] if left_out else [[]]
        left_out = False
        for pattern, instead in CHANGING.items():
            block = re.sub(pattern, instead, block)
        screen += [row for line in block.split("\n") for row in coloured(line)]
    return screen


def coloured(line: str) -> list[Line]:
    """The rows of a line, in the colour of its escape sequence."""
    found = re.match(r"\x1b\[[01];(\d+)m", line)
    colour = COLOURS[found[1]] if found else "text"
    return [[(colour, row)] for row in wrapped(re.sub(r"\x1b\[[\d;]*m", "", line).rstrip())]


def wrapped(line: str) -> list[str]:
    """The rows that a line takes in a terminal."""
    return [line[begin : begin + COLUMNS] for begin in range(0, len(line), COLUMNS)] or [""]


def picture(screen: list[Line], theme: str) -> str:
    """The SVG file: a window with these lines."""
    canvas = draw.Canvas(theme)
    columns, rows = COLUMNS + 4, len(screen) + 3
    width, height = columns * draw.WIDTH - 1, rows * draw.HEIGHT - 1
    look = f'fill="{canvas.colours["fill"]}" stroke="{canvas.colours["frame"]}"'
    canvas.elements.append(f'<rect x=".5" y=".5" width="{width}" height="{height}" rx="8" {look}/>')
    for number, colour in enumerate(("#ff5f57", "#febc2e", "#28c840")):
        canvas.elements.append(f'<circle cx="{22 + 20 * number}" cy="20" r="6" fill="{colour}"/>')
    for row, line in enumerate(screen, 2):
        column = 2
        for colour, text in line:
            indent = len(text) - len(text.lstrip())
            if text.strip():
                bold = colour == "bold"
                canvas.text(column + indent, row, text.lstrip(), "text" if bold else colour, bold)
            column += len(text)
    title = "A terminal: quote shows an offer and its price; provision buys it, and says how to log in"
    return canvas.picture(columns, rows, title)


if __name__ == "__main__":
    main()
