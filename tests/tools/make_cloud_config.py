# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make plugins/module_utils/_cloud_init/schema.py of cloud-init's own schema.

``python tests/tools/make_cloud_config.py FOLDER`` wants the folder of cloud-init's Python package. On Debian that need
not be installed: ``apt-get download cloud-init``, ``dpkg -x cloud-init_*.deb x``, and the folder is
``x/usr/lib/python3/dist-packages/cloudinit``.

The schema says which keys there are and of which types their values must be. What it does not say is in the tables
here: which places are worth a look, and what the code of cloud-init 25.1.4 does with something else.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[2] / "plugins" / "module_utils" / "_cloud_init" / "schema.py"

# The kinds of a value, in the order in which a message names them.
TYPES = {
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}

# Places of a document whose type is checked: "users[].name" is the name of each user. Here the part of cloud-init that
# handles the key stops with an exception at what does not fit, so that nothing of the key happens; but it goes on with
# the kinds named here.
STOPS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("apt", "ca-certs", "ca_certs", "ntp", "snap", "ssh_keys", "hostname", "timezone"), ()),
    **dict.fromkeys(("bootcmd", "bootcmd[]", "runcmd", "runcmd[]", "mounts", "packages[]", "groups", "groups[]"), ()),
    **dict.fromkeys(("chpasswd", "chpasswd.list", "chpasswd.list[]", "chpasswd.users", "chpasswd.users[]"), ()),
    "chpasswd.users[].name": (),
    # A wrong one can keep out even the key that came with the order.
    **dict.fromkeys(("ssh_authorized_keys", "ssh_authorized_keys[]"), ()),
    "users[]": (),
    "users[].name": ("nothing",),
    "users[].ssh_authorized_keys": ("text", "a mapping"),
    **dict.fromkeys(("write_files", "write_files[]", "write_files[].path", "write_files[].content"), ()),
    **dict.fromkeys(("write_files[].owner", "write_files[].source"), ()),
}
# Here it goes on, but does something else than what was meant.
GOES_ON = """
    apt_update apt_upgrade bootcmd[][] disable_root final_message fqdn growpart locale mounts[]
    package_reboot_if_required package_update package_upgrade packages packages[][] password power_state
    power_state.mode preserve_hostname runcmd[][] ssh_import_id ssh_import_id[] ssh_pwauth swap user users users[][]
    users[].lock_passwd users[].ssh_authorized_keys[] write_files[].append write_files[].defer write_files[].encoding
    write_files[].permissions
"""
# Where it takes nothing for a key that is not there, though the schema does not say so.
EMPTY = """
    bootcmd[] chpasswd.list chpasswd.users power_state snap write_files[].content write_files[].encoding
    write_files[].owner write_files[].permissions write_files[].source
"""
# Texts that must look like something, which the schema does not say, or says more strictly than the code.
LOOKS = {
    "power_state.mode": "poweroff, reboot or halt",
    "write_files[].encoding": "b64, gz, gz+b64 or text/plain",
    "write_files[].path": "an absolute path",
    "write_files[].permissions": "octal digits in quotes, such as '0644'",
}
# Keys that the schema leaves out though cloud-init reads them; then those for the Raspberry Pi, which came later.
# ``network`` is missing on purpose: cloud-init does not read it from user data.
ALSO_READ = """
    add_apt_repo_match allow_userdata apt_custom_sources_list apt_ftp_proxy apt_http_proxy apt_https_proxy apt_mirror
    apt_mirror_search apt_mirror_search_dns apt_preserve_sources_list apt_proxy apt_sources datasource datasource_list
    def_log_file log_cfgs manual_cache_clean rsyslog_dir rsyslog_filename syslog_fix_perms unverified_modules
    vendor_data2

    disable_piwiz enable_rpi_connect rpi_interfaces rpi_userconf
"""

FILE = '''\
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cloud-init {version} knows of a #cloud-config, made of its schema by tests/tools/make_cloud_config.py.

Do not edit: the program has the reasons. A place is a key and what lies below it: ``users[].name`` is the name of each
user.
"""

from __future__ import annotations

# All keys at the top of a document.
_KEYS = """
{keys}
"""
KEYS = frozenset(_KEYS.split())

# What may stand at a place.
FITS: dict[str, tuple[str, ...]] = {{
{fits}
}}

# Places that must not be missing where there is a mapping around them.
NEEDED = {needed}

# Where cloud-init stops at what does not fit, and with what it goes on all the same. Elsewhere it always goes on.
STOPS: dict[str, tuple[str, ...]] = {{
{stops}
}}
'''


class Schema:
    """cloud-init's schema of a #cloud-config."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    def choices(self, node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """A node and all that it refers to or chooses from."""
        yield node
        for other in (*node.get("allOf", ()), *node.get("oneOf", ()), *node.get("anyOf", ())):
            yield from self.choices(other)
        if "$ref" in node:
            yield from self.choices(self.content["$defs"][node["$ref"].removeprefix("#/$defs/")])

    def at(self, place: str) -> list[dict[str, Any]]:
        """All that the schema says of a place."""
        around, mark, key = place.rpartition(".")
        if place.endswith("[]"):
            items = [node["items"] for node in self.at(place[:-2]) if "items" in node]
            return [choice for node in items for choice in self.choices(node)]
        nodes = self.at(around) if mark else list(self.choices(self.content))
        found = [node["properties"][key] for node in nodes if key in node.get("properties", {})]
        return [choice for node in found for choice in self.choices(node)]

    def fits(self, place: str) -> tuple[str, ...]:
        """The kinds that may stand there. Raises ValueError if the schema does not know the place."""
        said = [node.get("type", ()) for node in self.at(place)]
        types = {each for types in said for each in ([types] if isinstance(types, str) else types)}
        if not types & TYPES.keys():
            raise ValueError(f"cloud-init's schema has no type for {place}")
        return tuple(kind for name, kind in TYPES.items() if name in types)

    def needs(self, place: str) -> bool:
        """Whether it must be there, or is one of those of which one must."""
        around, mark, key = place.rpartition(".")
        return bool(mark) and any(key in node.get("required", ()) for node in self.at(around))


def make(version: str, content: dict[str, Any]) -> str:
    """The text of the file."""
    schema = Schema(content)
    places = sorted([*STOPS, *GOES_ON.split()])
    fits = {place: (LOOKS[place],) if place in LOOKS else schema.fits(place) for place in places}
    for place in EMPTY.split():
        fits[place] += ("nothing",) if "nothing" not in fits[place] else ()
    needed = sorted(filter(schema.needs, places))
    return FILE.format(
        version=version,
        keys=wrapped(sorted({*content["properties"], *ALSO_READ.split()})),
        fits=entries(fits),
        needed=f"frozenset(({', '.join(map(quoted, needed))}))",
        stops=entries({place: STOPS[place] for place in places if place in STOPS}),
    )


def quoted(text: str) -> str:
    """It as Python is written here."""
    return f'"{text}"'


def entries(table: dict[str, tuple[str, ...]]) -> str:
    """The lines of a dictionary."""
    rows = {place: ", ".join(map(quoted, kinds)) + "," * (len(kinds) == 1) for place, kinds in table.items()}
    return "\n".join(f"    {quoted(place)}: ({row})," for place, row in rows.items())


def wrapped(words: list[str]) -> str:
    """Words in lines of 120 columns."""
    lines = [""]
    for word in words:
        lines += [""] if len(lines[-1]) + len(word) > 115 else []
        lines[-1] += f" {word}"
    return "\n".join(f"   {line}" for line in lines)


def main(folder: Path, target: Path = TARGET) -> None:
    """Write the file. ``folder`` is cloud-init's Python package."""
    version = re.search(r'__VERSION__ = "([\d.]+)"', (folder / "version.py").read_text())
    if not version:
        raise ValueError(f"{folder} has no version of cloud-init")
    schema = json.loads((folder / "config/schemas/schema-cloud-config-v1.json").read_text())
    target.write_text(make(version[1], schema))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
