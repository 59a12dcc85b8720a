# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second Supply API, written from its documentation by somebody who had not read the simulator.

``forms.py`` has the requests and answers, ``world.py`` what is sold and what became of it, ``standin.py`` the
endpoints. It shares no code with the simulator and has no switches: where the documentation is silent or contradicts
itself, it does one thing, and ``choices.py`` says which, and why.
"""
