# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cloud-init knows of a #cloud-config: its keys, and the types of the common ones.

The keys are the top-level properties of cloud-init's ``schema-cloud-config-v1.json``: those of 25.1.4, and those for
the Raspberry Pi that came later. The last lines add what that schema leaves out though cloud-init reads it. ``network``
is missing on purpose: cloud-init does not read it from user data.

The types are those of the schema, weighed by what the code of cloud-init 25.1.4 does with a wrong one: if the part that
handles the key stops with an exception, nothing of the key happens, so it stands in ``MUST``. If cloud-init goes on, it
stands in ``SHOULD``.

This module util is private to the collection.
"""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Callable, Iterable

_KEYS = """
    allow_public_ssh_keys ansible apk_repos apt apt_pipelining apt_reboot_if_required apt_update apt_upgrade
    authkey_hash autoinstall bootcmd byobu_by_default ca-certs ca_certs chef chpasswd cloud_config_modules
    cloud_final_modules cloud_init_modules create_hostname_file device_aliases disable_ec2_metadata disable_piwiz
    disable_root disable_root_opts disk_setup drivers enable_rpi_connect fan final_message fqdn fs_setup groups growpart
    grub-dpkg grub_dpkg hostname keyboard landscape launch-index locale locale_configfile lxd manage_etc_hosts
    manage_resolv_conf mcollective merge_how merge_type migrate mount_default_fields mounts no_ssh_fingerprints ntp
    output package_reboot_if_required package_update package_upgrade packages password phone_home power_state
    prefer_fqdn_over_hostname preserve_hostname puppet random_seed reporting resize_rootfs resolv_conf rh_subscription
    rpi_interfaces rpi_userconf rsyslog runcmd salt_minion snap spacewalk ssh ssh_authorized_keys ssh_deletekeys
    ssh_fp_console_blacklist ssh_genkeytypes ssh_import_id ssh_key_console_blacklist ssh_keys ssh_publish_hostkeys
    ssh_pwauth ssh_quiet_keygen swap system_info timezone ubuntu_advantage ubuntu_pro updates user users vendor_data
    version wireguard write_files yum_repo_dir yum_repos zypper

        add_apt_repo_match allow_userdata apt_custom_sources_list apt_ftp_proxy apt_http_proxy apt_https_proxy
    apt_mirror     apt_mirror_search apt_mirror_search_dns apt_preserve_sources_list apt_proxy apt_sources datasource
    datasource_list     def_log_file log_cfgs manual_cache_clean rsyslog_dir rsyslog_filename syslog_fix_perms
    unverified_modules vendor_data2
"""
KNOWN_KEYS = frozenset(_KEYS.split())

# A shape is a kind of value, [the shape of all items], {key: the shape of its value}, or a tuple of these: any of them.
ANY, BOOLEAN, LIST, MAPPING, NOTHING, TEXT = "anything", "true or false", "a list", "a mapping", "nothing", "text"
PATH = "an absolute path"
OCTAL = "octal digits in quotes, such as '0644'"
ENCODING = "b64, gz, gz+b64 or text/plain"
MODE = "poweroff, reboot or halt"

_KINDS: dict[str, Callable[[t.Any], bool]] = {
    ANY: lambda value: True,
    BOOLEAN: lambda value: isinstance(value, bool),
    LIST: lambda value: isinstance(value, list),
    MAPPING: lambda value: isinstance(value, dict),
    NOTHING: lambda value: value is None,
    TEXT: lambda value: isinstance(value, (str, bytes)),  # YAML's !!binary is bytes
    PATH: lambda value: isinstance(value, str) and value.startswith("/"),
    OCTAL: lambda value: isinstance(value, str) and bool(re.fullmatch("(0o)?[0-7]{3,5}", value)),
    ENCODING: lambda value: (
        isinstance(value, str)
        and bool(re.fullmatch(r"(gz(ip)?\+)?b(ase)?64|gz(ip)?|text/plain|", value.strip().lower()))
    ),
    MODE: lambda value: value in ("poweroff", "reboot", "halt"),
}

# A key of an inner mapping may be left out, apart from these.
_NEEDED = ("mode", "name", "path")

_COMMANDS = [(TEXT, LIST, NOTHING)]
_TEXT_COMMANDS = [(TEXT, [TEXT], NOTHING)]

MUST: dict[str, t.Any] = {
    "apt": MAPPING,
    "bootcmd": _COMMANDS,
    "ca-certs": MAPPING,
    "ca_certs": MAPPING,
    "chpasswd": {"users": ([{"name": TEXT}], NOTHING), "list": ([TEXT], TEXT, NOTHING)},
    "groups": (TEXT, MAPPING, [(TEXT, MAPPING)]),
    "hostname": TEXT,
    "mounts": LIST,
    "ntp": (MAPPING, NOTHING),
    "packages": ([(TEXT, LIST, MAPPING)], ANY),
    "runcmd": _COMMANDS,
    "snap": (MAPPING, NOTHING),
    "ssh_authorized_keys": [TEXT],  # a wrong one can keep out even the key that came with the order
    "ssh_keys": MAPPING,
    "timezone": TEXT,
    "users": ([(TEXT, LIST, {"name": (TEXT, NOTHING), "ssh_authorized_keys": (LIST, TEXT, MAPPING)})], ANY),
    "write_files": [{"path": PATH, "content": (TEXT, NOTHING), "owner": (TEXT, NOTHING), "source": (MAPPING, NOTHING)}],
}

SHOULD: dict[str, t.Any] = {
    "apt_update": BOOLEAN,
    "apt_upgrade": BOOLEAN,
    "bootcmd": _TEXT_COMMANDS,
    "disable_root": BOOLEAN,
    "final_message": TEXT,
    "fqdn": TEXT,
    "growpart": MAPPING,
    "locale": (TEXT, BOOLEAN),
    "mounts": [LIST],
    "package_reboot_if_required": BOOLEAN,
    "package_update": BOOLEAN,
    "package_upgrade": BOOLEAN,
    "packages": [(TEXT, [TEXT], MAPPING)],
    "password": TEXT,
    "power_state": ({"mode": MODE}, NOTHING),
    "preserve_hostname": BOOLEAN,
    "runcmd": _TEXT_COMMANDS,
    "ssh_import_id": [TEXT],
    "ssh_pwauth": (BOOLEAN, TEXT),
    "swap": MAPPING,
    "user": (TEXT, MAPPING),
    "users": (TEXT, MAPPING, [(TEXT, [TEXT], {"name": TEXT, "lock_passwd": BOOLEAN, "ssh_authorized_keys": [TEXT]})]),
    "write_files": [
        {"permissions": (OCTAL, NOTHING), "encoding": (ENCODING, NOTHING), "append": BOOLEAN, "defer": BOOLEAN}
    ],
}


def misfits(document: dict[t.Any, t.Any], shapes: dict[str, t.Any], verb: str) -> list[str]:
    """For each key the first place that has not its shape. The document's own words are not in it."""
    found = (_misfit(key, document[key], shape, verb) for key, shape in shapes.items() if key in document)
    return [misfit for misfit in found if misfit]


def _misfit(where: str, value: t.Any, shape: t.Any, verb: str) -> str:
    choices = shape if isinstance(shape, tuple) else (shape,)
    for choice in choices:
        if isinstance(choice, list) and isinstance(value, list):
            return _first(_misfit(f"{where}[{number}]", item, choice[0], verb) for number, item in enumerate(value))
        if isinstance(choice, dict) and isinstance(value, dict):
            keys = [key for key in choice if key in value or key in _NEEDED]
            return _first(_misfit(f"{where}.{key}", value.get(key), choice[key], verb) for key in keys)
        if isinstance(choice, str) and _KINDS[choice](value):
            return ""
    names = [
        LIST if isinstance(choice, list) else MAPPING if isinstance(choice, dict) else choice for choice in choices
    ]
    hint = " (quote a text that holds ': ')" if isinstance(value, dict) and TEXT in names else ""
    return f"{where} {verb} be {' or '.join(name for name in names if name != NOTHING)}{hint}"


def _first(found: Iterable[str]) -> str:
    return next(filter(None, found), "")


def nearest_key(key: str) -> str:
    """The known key that an unknown one may be meant to be, or an empty text."""
    return _first(difflib.get_close_matches(key[:40].lower(), sorted(KNOWN_KEYS), 1, 0.75))
