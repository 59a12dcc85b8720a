# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that cloud-init 25.1.4 knows at the top of a #cloud-config. Made by tests/tools/make_cloud_config.py."""

from __future__ import annotations

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
