# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cloud-init 25.1.4 knows of a #cloud-config, made of its schema by tests/tools/make_cloud_config.py.

Do not edit: the program has the reasons. A place is a key and what lies below it: ``users[].name`` is the name of each
user.
"""

from __future__ import annotations

# All keys at the top of a document.
_KEYS = """
    add_apt_repo_match allow_public_ssh_keys allow_userdata ansible apk_repos apt apt_custom_sources_list apt_ftp_proxy
    apt_http_proxy apt_https_proxy apt_mirror apt_mirror_search apt_mirror_search_dns apt_pipelining
    apt_preserve_sources_list apt_proxy apt_reboot_if_required apt_sources apt_update apt_upgrade authkey_hash
    autoinstall bootcmd byobu_by_default ca-certs ca_certs chef chpasswd cloud_config_modules cloud_final_modules
    cloud_init_modules create_hostname_file datasource datasource_list def_log_file device_aliases disable_ec2_metadata
    disable_piwiz disable_root disable_root_opts disk_setup drivers enable_rpi_connect fan final_message fqdn fs_setup
    groups growpart grub-dpkg grub_dpkg hostname keyboard landscape launch-index locale locale_configfile log_cfgs lxd
    manage_etc_hosts manage_resolv_conf manual_cache_clean mcollective merge_how merge_type migrate
    mount_default_fields mounts no_ssh_fingerprints ntp output package_reboot_if_required package_update
    package_upgrade packages password phone_home power_state prefer_fqdn_over_hostname preserve_hostname puppet
    random_seed reporting resize_rootfs resolv_conf rh_subscription rpi_interfaces rpi_userconf rsyslog rsyslog_dir
    rsyslog_filename runcmd salt_minion snap spacewalk ssh ssh_authorized_keys ssh_deletekeys ssh_fp_console_blacklist
    ssh_genkeytypes ssh_import_id ssh_key_console_blacklist ssh_keys ssh_publish_hostkeys ssh_pwauth ssh_quiet_keygen
    swap syslog_fix_perms system_info timezone ubuntu_advantage ubuntu_pro unverified_modules updates user users
    vendor_data vendor_data2 version wireguard write_files yum_repo_dir yum_repos zypper
"""
KEYS = frozenset(_KEYS.split())

# What may stand at a place.
FITS: dict[str, tuple[str, ...]] = {
    "apt": ("a mapping",),
    "apt_update": ("true or false",),
    "apt_upgrade": ("true or false",),
    "bootcmd": ("a list",),
    "bootcmd[]": ("text", "a list", "nothing"),
    "bootcmd[][]": ("text",),
    "ca-certs": ("a mapping",),
    "ca_certs": ("a mapping",),
    "chpasswd": ("a mapping",),
    "chpasswd.list": ("text", "a list", "nothing"),
    "chpasswd.list[]": ("text",),
    "chpasswd.users": ("a list", "nothing"),
    "chpasswd.users[]": ("a mapping",),
    "chpasswd.users[].name": ("text",),
    "disable_root": ("true or false",),
    "final_message": ("text",),
    "fqdn": ("text",),
    "groups": ("text", "a list", "a mapping"),
    "groups[]": ("text", "a mapping"),
    "growpart": ("a mapping",),
    "hostname": ("text",),
    "locale": ("text", "true or false"),
    "mounts": ("a list",),
    "mounts[]": ("a list",),
    "ntp": ("a mapping", "nothing"),
    "package_reboot_if_required": ("true or false",),
    "package_update": ("true or false",),
    "package_upgrade": ("true or false",),
    "packages": ("a list",),
    "packages[]": ("text", "a list", "a mapping"),
    "packages[][]": ("text",),
    "password": ("text",),
    "power_state": ("a mapping", "nothing"),
    "power_state.mode": ("poweroff, reboot or halt",),
    "preserve_hostname": ("true or false",),
    "runcmd": ("a list",),
    "runcmd[]": ("text", "a list", "nothing"),
    "runcmd[][]": ("text",),
    "snap": ("a mapping", "nothing"),
    "ssh_authorized_keys": ("a list",),
    "ssh_authorized_keys[]": ("text",),
    "ssh_import_id": ("a list",),
    "ssh_import_id[]": ("text",),
    "ssh_keys": ("a mapping",),
    "ssh_pwauth": ("text", "true or false"),
    "swap": ("a mapping",),
    "timezone": ("text",),
    "user": ("text", "a mapping"),
    "users": ("text", "a list", "a mapping"),
    "users[]": ("text", "a list", "a mapping"),
    "users[].lock_passwd": ("true or false",),
    "users[].name": ("text",),
    "users[].ssh_authorized_keys": ("a list",),
    "users[].ssh_authorized_keys[]": ("text",),
    "users[][]": ("text",),
    "write_files": ("a list",),
    "write_files[]": ("a mapping",),
    "write_files[].append": ("true or false",),
    "write_files[].content": ("text", "nothing"),
    "write_files[].defer": ("true or false",),
    "write_files[].encoding": ("b64, gz, gz+b64 or text/plain", "nothing"),
    "write_files[].owner": ("text", "nothing"),
    "write_files[].path": ("an absolute path",),
    "write_files[].permissions": ("octal digits in quotes, such as '0644'", "nothing"),
    "write_files[].source": ("a mapping", "nothing"),
}

# Places that must not be missing where there is a mapping around them.
NEEDED = frozenset(("chpasswd.users[].name", "power_state.mode", "users[].name", "write_files[].path"))

# Where cloud-init stops at what does not fit, and with what it goes on all the same. Elsewhere it always goes on.
STOPS: dict[str, tuple[str, ...]] = {
    "apt": (),
    "bootcmd": (),
    "bootcmd[]": (),
    "ca-certs": (),
    "ca_certs": (),
    "chpasswd": (),
    "chpasswd.list": (),
    "chpasswd.list[]": (),
    "chpasswd.users": (),
    "chpasswd.users[]": (),
    "chpasswd.users[].name": (),
    "groups": (),
    "groups[]": (),
    "hostname": (),
    "mounts": (),
    "ntp": (),
    "packages[]": (),
    "runcmd": (),
    "runcmd[]": (),
    "snap": (),
    "ssh_authorized_keys": (),
    "ssh_authorized_keys[]": (),
    "ssh_keys": (),
    "timezone": (),
    "users[]": (),
    "users[].name": ("nothing",),
    "users[].ssh_authorized_keys": ("text", "a mapping"),
    "write_files": (),
    "write_files[]": (),
    "write_files[].content": (),
    "write_files[].owner": (),
    "write_files[].path": (),
    "write_files[].source": (),
}
