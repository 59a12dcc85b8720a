# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: decide
short_description: (internal) Decides for the hosts of a play what to buy, keep, give back or end
version_added: 1.0.0
description:
  - Internal - do not use it in your own plays. The roles and playbooks of this collection use it, and any version may
    change its options and results.
  - It gathers the declarations of the play's hosts, reads their registry, asks the API, and returns a plan or a verdict
    for each host.
  - It works in Ansible's own process, and runs once for all hosts, except for O(step=declare). An error of one
    host never fails the others - it is reported in that host's plan, and only that host fails.
author:
  - Contributors to the compute_index.supply collection (@compute-index)
extends_documentation_fragment:
  - compute_index.supply.api
  - compute_index.supply.api.attributes
  - compute_index.supply.api.module
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  step:
    description:
      - V(declare) - what does this host want? Evaluates its variables, for the other steps. In the collection's own
        playbooks it runs once for all hosts of the play.
      - V(plan) - what does each host own, and what would it buy at which price? V(quote) is the same for people and
        workflows, and needs no SSH key.
      - V(seal) - seals the plan of a quote, writes and publishes it, so that it is bought unchanged or not at all.
      - V(judge) - what became of the purchases, and what follows?
      - V(release) - what follows once machines were given back? V(release_begins) - notes that their storage ends too.
      - V(offers) - what does the market have now, and for how much?
      - V(order) - which hosts do extra variables and surveys ask for?
      - V(tested) - did the machines pass their tests? Fails if not, and keeps the evidence.
      - V(reached) - notes that the machine was reached, so that one-time steps do not run again.
      - V(named) - whose machines are to end? Fails if one of O(hosts) matches nothing.
      - V(declare_end) - what does a host declare about its end? For a host that declares alone.
      - V(end) - which machines of each host end?
      - V(delete) - ends these machines, or, once their end is noted, the storage that ends after them.
      - V(ended) - brings the registry up to date. If something has not certainly ended, only its host says so.
        V(storage_ended) - the same for the storage of one host, which fails.
      - V(registry) - makes the tables of a registry that several controllers share, and moves the files of hosts into
        it.
      - V(reap) - which leases are over? V(reap_asked) - was the machine idle for too long? V(reaped) - fails if the
        machine of one of them could not be ended.
      - V(extend) - gives the machines of O(hosts) more time.
      - V(audit) - what runs on the account, what does it cost, and who owns it?
      - V(orphan) - may the machine of O(resource_id) end, which no host owns? Fails if one does.
      - V(spend) - what has been spent, by the registries of the inventory's hosts? It sends no request to the API.
      - V(probe) - does the API behave as this collection assumes? It only reads.
      - V(probe_purchase) - which machine would the probe buy to follow its life, and at what cost? V(probe_ended) -
        fails if that went wrong, above all if the machine may still be billed.
      - V(timer) - what installs or removes the timer of sweeps on this computer, and how do the sweeps go? It asks
        neither the API nor a registry.
      - V(verified) - which running machines have passed their tests?
      - V(awx) - are the variables of the playbook C(awx_setup) valid? Fails if not, and in check mode.
      - V(run) - what should run, under which name, and is it over already? It reports all mistakes at once.
        V(run_quoted) - what would its machine cost, and may it be bought? V(run_next) - should its job start, or has it
        started? V(run_over) - may its machine end, since the results are home? V(run_done) - how did it end, and what
        did it cost? V(run_broken) - what is billed if a task has failed (O(reason))? V(runs) - which runs exist, and
        what is their state? V(run_late) - where does a sweep put the results of a run? V(run_swept) - are they home?
    type: str
    required: true
    choices:
      - declare
      - plan
      - quote
      - seal
      - judge
      - release
      - release_begins
      - tested
      - reached
      - offers
      - order
      - named
      - declare_end
      - end
      - delete
      - ended
      - storage_ended
      - audit
      - orphan
      - spend
      - reap
      - reap_asked
      - reaped
      - extend
      - probe
      - probe_purchase
      - probe_ended
      - registry
      - timer
      - run
      - run_quoted
      - run_next
      - run_over
      - run_done
      - run_broken
      - runs
      - run_late
      - run_swept
      - verified
      - awx
  deleted:
    description:
      - For O(step=release) and O(step=storage_ended) the results of M(compute_index.supply.delete_resource).
    type: list
    elements: dict
    default: []
  end:
    description:
      - For O(step=storage_ended) the storage part of the result of V(release).
    type: dict
    default: {}
  tests:
    description:
      - For O(step=tested) the results of M(compute_index.supply.gpu_acceptance), one for each machine.
    type: list
    elements: dict
    default: []
  unsound:
    description:
      - For O(step=release) why the machine did not pass its test; empty if it is given back for another reason.
    type: str
    default: ''
  hosts:
    description:
      - For O(step=named) names, groups and patterns of hosts, as a list or as a text with commas. Hosts that only a
        registry knows are included. For O(step=extend) the names of hosts.
    type: raw
  group:
    description:
      - For O(step=named) the group of a host that only the registry knows, if the registry names no groups for it.
    type: str
    default: gpu
  find:
    description:
      - For O(step=order) whether C(reached) includes machines that only the shared registry knows.
    type: bool
    default: false
  forget:
    description:
      - For O(step=end) the ids of machines that the API does not know and a person confirms as gone.
    type: list
    elements: str
    default: []
  since:
    description:
      - For O(step=spend) a date, an ISO 8601 time, or a duration before now such as V(30d). Without it everything
        counts.
    type: str
    default: ''
  names:
    description:
      - For O(step=audit) the names of the expected machines, without a registry.
    type: list
    elements: str
    default: []
  resource_id:
    description:
      - For O(step=orphan) the machine's id.
    type: str
    default: ''
  reason:
    description:
      - For O(step=orphan) why it may end. For O(step=run_broken) why a task has failed.
    type: str
    default: ''
  fail_on_orphans:
    description:
      - For O(step=audit) whether RV(trouble) counts orphans.
    type: bool
    default: false
  settle:
    description:
      - For O(step=audit) whether registries note which machines have ended or are missing, and the outcome of purchases
        of dead runs. Otherwise it writes nothing.
    type: bool
    default: false
  verb:
    description:
      - For O(step=named) the action on the machines, for messages.
    type: str
    choices: [decommission, extend]
    default: decommission
  by_name:
    description:
      - For O(step=reap) whether C(due) includes hosts without a registry, whose machines are known only by name.
    type: bool
    default: false
  grace:
    description:
      - For O(step=reap) how long a failed last command delays an end, such as V(30m); without a unit it is minutes.
    type: raw
  before_end_timeout:
    description:
      - For O(step=reap) how long a last command may take, such as V(5m); without a unit it is seconds.
    type: raw
  by:
    description:
      - For O(step=extend) the added time, such as V(4h).
    type: str
    default: ""
  until:
    description:
      - For O(step=extend) the new end, such as V(2026-12-01T06:00Z).
    type: str
    default: ""
  recording:
    description:
      - For O(step=probe) a file for the requests and answers, without anything that identifies the account; only its
        owner may read it. Check mode writes none.
    type: str
    default: ""
  wrong_token:
    description:
      - For O(step=probe) whether one request is sent with a wrong token on purpose.
    type: bool
    default: true
  buy:
    description:
      - For O(step=probe_purchase) whether a machine may be bought. O(max_usd) must be given then.
    type: bool
    default: false
  spec:
    description:
      - For O(step=offers) a search, as M(compute_index.supply.offer_info) takes it. Without a GPU all types are shown.
    type: dict
    default: {}
  max_usd:
    description:
      - For O(step=probe_purchase) the most that the machine may cost in its whole life, in USD.
    type: str
    default: ""
  state:
    description:
      - For O(step=timer) whether there should be a timer; V(show) changes nothing.
    type: str
    choices: [present, absent, show]
    default: present
  every:
    description:
      - For O(step=timer) how often it runs a sweep.
    type: str
    default: 15m
"""

EXAMPLES = r"""
- name: What runs on the account, and who owns it?
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Compare the machines with the registries of the inventory's hosts
      compute_index.supply.decide:
        step: audit
      register: found

    - name: Show them
      ansible.builtin.debug:
        msg: "{{ found.lines }}"
"""

RETURN = r"""
verified:
  description: For O(step=verified) the verdict on each host's machines.
  returned: success
  type: dict
audit:
  description:
    - For O(step=audit) C(claimed), C(orphans) and C(gone), lists of rows with C(hosts), C(resource_id), C(name),
      C(offer_id), C(status), C(vendor), C(price_per_hour) (USD; V(null) if unknown), C(created_at), C(hours) (its age),
      C(usd) (its cost so far, by age and price), C(valid_to) (its end by the API; V(null) if the API does not say) and
      C(trouble), which is empty where registry and API agree.
    - C(leases) has by host C(ends_at) and C(at_most) (USD) of the machines with a lease. C(tested) is
      a list of the last tests by C(verify), with C(host), C(at), C(verdict) and C(reasons).
    - C(price_per_hour) has the sums C(claimed), C(orphans) and C(total) in USD, C(usd) the same sums of the costs so
      far; C(unpriced) counts the machines whose price is unknown.
  returned: success
  type: dict
ended:
  description:
    - For O(step=orphan) the machine with C(resource_id), C(name), C(status), C(vendor), C(price_per_hour) and
      C(created_at), the reason of its end (C(why)), and who ends it (C(by)).
  returned: success
  type: dict
csv:
  description:
    - For O(step=spend) the purchases of RV(spend) as comma-separated values, with a header line.
  returned: success
  type: str
spend:
  description:
    - For O(step=spend) upper bounds in USD. C(usd) is the sum since C(since) until C(until), C(hosts), C(groups),
      C(days) and C(months) (UTC) are mappings of its parts. C(purchases) is a list of the 1000 purchases
      that may run or have ended last; C(purchases_left_out) counts the others.
    - C(price_per_hour) is the present rate of billing. C(unknown) counts purchases with an unknown price or beginning;
      no sum includes them.
  returned: success
  type: dict
kinds:
  description:
    - For O(step=offers) the kinds of GPU with C(gpu_type), C(gpu_counts), C(offers) and C(price_per_hour) (USD, the
      cheapest) on demand, C(spot_offers) and C(spot_price_per_hour).
  returned: success
  type: list
  elements: dict
offers:
  description: For O(step=offers) the offers of O(spec), as M(compute_index.supply.offer_info) returns them.
  returned: success
  type: list
  elements: dict
probe:
  description:
    - For O(step=probe) the ids of assumptions that are C(confirmed), C(contradicted) and C(not_seen), and how many
      C(requests) were sent. C(findings) has C(id), C(verdict) and C(evidence) of each.
  returned: success
  type: dict
lines:
  description:
    - For O(step=audit), O(step=spend), O(step=reap), O(step=extend), O(step=probe) and O(step=offers) the result in
      readable lines.
    - For O(step=probe_purchase) the purchase, and how to end the machine if the run is interrupted.
    - For O(step=registry) the tables that were created, and the hosts that were moved.
  returned: success
  type: list
  elements: str
trouble:
  description:
    - For O(step=audit) why the audit fails - contested machines, and orphans if asked for; for O(step=reap) reading and
      writing errors; for O(step=extend) the hosts that get no more time, and why; for O(step=registry) the hosts that
      were not moved. Empty otherwise.
    - For these, O(step=spend) and O(step=named) also the variables and files of hosts that cannot be read, with the
      hosts. All other hosts have been processed, and the playbook fails at its end.
  returned: success
  type: str
reap:
  description: For O(step=reap) the result as data for a workflow, with the number of orphans.
  returned: success
  type: dict
extended:
  description:
    - For O(step=extend) the hosts that got more time, with C(before), C(until), and C(more) and C(at_most) in USD.
  returned: success
  type: list
  elements: dict
"""
