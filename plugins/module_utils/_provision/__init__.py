# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a host: the decisions about money, as plain functions without Ansible, HTTP, files or a clock.

This module util is private to the collection.
"""
