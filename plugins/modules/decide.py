# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: decide
short_description: (internal) Decides for all hosts of a play what is bought, kept, given back or ended
version_added: 1.0.0
description:
  - Internal - do not use it in your own plays. The roles and playbooks of this collection use it, and any version may
    change its options and results.
  - It gathers what the hosts of the play have declared, reads their registry, asks the API, and returns a plan or a
    verdict for each.
  - It works in Ansible's own process, and runs once for all hosts, except for O(step=declare). What is wrong with one
    host never fails the others - it is told in that host's plan, and the host fails by itself.
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
        playbooks it runs once, and says what all hosts of the play want.
      - V(plan) - what does each host own, and what would it buy at which price? V(quote) is the same for people and
        workflows, and needs no SSH key.
      - V(seal) - writes and publishes the plan of a quote, sealed, so that it is bought as it stands or not at all.
      - V(judge) - what became of the purchases, and what follows?
      - V(release) - what follows once machines were given back?
      - V(offers) - what does the market have now, and for how much?
      - V(order) - which hosts do extra variables and surveys ask for?
      - V(tested) - did the machines pass their tests? Fails if not, and keeps the evidence.
      - V(reached) - notes that the machine was reached, so that what is done once is not done again.
      - V(named) - whose machines are to end? Fails if one of O(hosts) matches nothing.
      - V(declare_end) - what does a host say of its end? For a host that declares by itself.
      - V(end) - which machines of each host end?
      - V(delete) - ends these machines, or, once that was noted, the storage that ends after them.
      - V(ended) - brings the registry up to date. What has not ended for certain is told of its host alone.
        V(storage_ended) - the same for the storage of one host, which fails.
      - V(registry) - makes the tables of a registry that several controllers share, and moves the files of hosts into
        it.
      - V(reap) - which leases are over? V(reap_asked) - was the machine idle for too long? V(reaped) - fails if the
        machine of one of them could not be ended.
      - V(extend) - gives the machines of O(hosts) more time.
      - V(audit) - what runs on the account, what does it cost, and who owns it?
      - V(orphan) - may the machine of O(resource_id) end, which no host owns? Fails if one does.
      - V(spend) - what has been spent, by the registries of the inventory's hosts? It asks the API nothing.
      - V(probe) - what does the API really do, compared with what this collection assumes? It sends reads only.
      - V(probe_purchase) - what would a machine be, and cost, whose life the probe may follow? V(probe_ended) - fails
        if that did not go as it should, above all if the machine may still be billed.
      - V(timer) - what installs or removes the timer that runs sweeps on this computer, and how do they go? It asks
        neither the API nor a registry.
      - V(verified) - which machines that run have passed their tests?
      - V(run) - what is to run, under which name, and is it over already? All mistakes at once. V(run_quoted) - what
        would its machine cost, and may it be bought? V(run_next) - does its job start, or was it started?
        V(run_over) - does its machine end, since the results are
        home? V(run_done) - how did it end, and what has it cost? V(run_broken) - what is billed if a task has failed
        (O(reason))?
        V(runs) - which runs are there, and how are they?
        V(run_late) - where do the results of a run belong that a sweep brings home? V(run_swept) - are they home?
    type: str
    required: true
    choices:
      - declare
      - plan
      - quote
      - seal
      - judge
      - release
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
  deleted:
    description:
      - For O(step=release) and O(step=storage_ended) the results of M(compute_index.supply.delete_resource).
    type: list
    elements: dict
    default: []
  end:
    description:
      - For O(step=storage_ended) what V(release) says of its storage.
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
      - For O(step=release) why the machine did not pass its test; empty if that is not why it is given back.
    type: str
    default: ''
  hosts:
    description:
      - For O(step=named) names, groups and patterns of hosts, as a list or as a text with commas. Hosts that only a
        registry knows count, too. For O(step=extend) the names of hosts.
    type: raw
  group:
    description:
      - For O(step=named) the group of a host that only the registry knows, where the registry does not name its groups.
    type: str
    default: gpu
  find:
    description:
      - For O(step=order) whether RV(reached) has machines that the inventory does not know, but the shared registry.
    type: bool
    default: false
  forget:
    description:
      - For O(step=end) the ids of machines that the API does not know, and that a person says are gone.
    type: list
    elements: str
    default: []
  since:
    description:
      - For O(step=spend) a date, an ISO 8601 time, or a duration before now such as V(30d). Without it all counts.
    type: str
    default: ''
  names:
    description:
      - For O(step=audit) the names of machines that should be there, where there is no registry.
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
      - For O(step=audit) whether registries note which machines have ended or are missing, and what became of purchases
        of runs that died. Otherwise it writes nothing.
    type: bool
    default: false
  verb:
    description:
      - For O(step=named) what is to happen to the machines.
    type: str
    choices: [decommission, extend]
    default: decommission
  by_name:
    description:
      - For O(step=reap) whether RV(due) has hosts without a registry, too, of whose machines only the name is known.
    type: bool
    default: false
  grace:
    description:
      - For O(step=reap) for how long a failed last command delays an end, such as V(30m); without a unit it is minutes.
    type: raw
  before_end_timeout:
    description:
      - For O(step=reap) how long a last command may take, such as V(5m); without a unit it is seconds.
    type: raw
  by:
    description:
      - For O(step=extend) how much more time they get, such as V(4h).
    type: str
    default: ""
  until:
    description:
      - For O(step=extend) until when they may live, such as V(2026-12-01T06:00Z).
    type: str
    default: ""
  recording:
    description:
      - For O(step=probe) a file for what was asked and answered, without what tells whose account it was; only its
        owner may read it. Check mode writes none.
    type: str
    default: ""
  wrong_token:
    description:
      - For O(step=probe) whether one request is sent with a token that is wrong on purpose.
    type: bool
    default: true
  buy:
    description:
      - For O(step=probe_purchase) whether a machine may be bought. O(max_usd) must be given then.
    type: bool
    default: false
  spec:
    description:
      - For O(step=offers) a search, as M(compute_index.supply.offer_info) takes it. Without a GPU all kinds are shown.
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
plans:
  description: For O(step=plan) and O(step=quote) the plan of each host for which something is to be done, by its name.
  returned: success
  type: dict
known:
  description: For O(step=plan) and O(step=quote) the hosts that buy nothing, with what a shared registry knows of them.
  returned: success
  type: list
  elements: dict
verdicts:
  description: For O(step=judge) of each host what the role does next, its variables, and why it stops.
  returned: success
  type: list
  elements: dict
next:
  description: For O(step=release) what the role does next for the host.
  returned: success
  type: str
stop:
  description: For O(step=release) why the host stops, and what is billed.
  returned: success
  type: str
ends:
  description: For O(step=end) what ends for each host, by its name.
  returned: success
  type: dict
  contains:
    host:
      description: The host.
      type: str
    action:
      description:
        - V(end), V(forget) if nothing of what the registry names runs any more, V(nothing), or V(stop).
      type: str
    ids:
      description: The ids of the machines that end.
      type: list
      elements: str
    gone:
      description: The ids of machines that have ended before.
      type: list
      elements: str
    forgotten:
      description: The ids that the API does not know, and of which O(forget) says that they are gone.
      type: list
      elements: str
    lines:
      description: What there is to say of that, beside what it has cost.
      type: list
      elements: str
    refusal:
      description: Why nothing ends, with ids, names and prices, and what to do; empty otherwise.
      type: str
answers:
  description:
    - For O(step=delete) what became of each resource, by its id, as
      M(compute_index.supply.delete_resource) returns it, failures too.
  returned: always
  type: dict
outcomes:
  description: For O(step=ended) what became of each host, by its name.
  returned: success
  type: dict
  contains:
    left:
      description: The ids of what has not ended for certain.
      type: list
      elements: str
    usd:
      description: What has ended has cost at most, in USD; V(null) if unknown.
      type: float
    cost:
      description: The same in a sentence; empty if nothing was bought, or if not all has ended.
      type: str
    next:
      description: What the role does next for the host; empty for nothing.
      type: str
    stop:
      description: Why the host stops, and what is billed.
      type: str
over:
  description: For O(step=ended) a line for people about each host that has nothing left.
  returned: success
  type: list
  elements: dict
hosts:
  description: For O(step=named) the hosts.
  returned: always
  type: list
  elements: str
add:
  description: For O(step=named) those of them that the inventory does not have, with C(name) and C(groups).
  returned: always
  type: list
  elements: dict
group:
  description: For O(step=order) the group that the plays of this run are for.
  returned: success
  type: str
added:
  description: For O(step=order) the hosts that a play must add, with C(name) and C(groups).
  returned: success
  type: list
  elements: dict
verified:
  description: For O(step=verified) the verdict on each host's machines.
  returned: success
  type: dict
reached:
  description: For O(step=order) how machines of earlier jobs are reached, as variables of hosts with C(name).
  returned: success
  type: list
  elements: dict
audit:
  description:
    - For O(step=audit) C(claimed), C(orphans) and C(gone), lists of rows with C(hosts), C(resource_id), C(name),
      C(offer_id), C(status), C(vendor), C(price_per_hour) (USD; V(null) if unknown), C(created_at), C(hours) (its age),
      C(usd) (what it has cost until now, by its age and its price), C(valid_to) (when it ends by the API; V(null) if
      it does not say) and C(trouble), which is empty where registry and API agree.
    - C(leases) has by host C(ends_at) and C(at_most) (USD) of the machines that have a last day. C(tested) is
      a list of the last tests by C(verify), with C(host), C(at), C(verdict) and C(reasons).
    - C(price_per_hour) has the sums C(claimed), C(orphans) and C(total) in USD, C(usd) those of the costs until now;
      C(unpriced) counts the machines whose price is unknown.
  returned: success
  type: dict
purchase:
  description:
    - For O(step=probe_purchase) the C(spec) of the search for the cheapest kind of machine, C(max_usd), and in C(log)
      the file in which its tasks note what they are answered. Empty if none is bought.
  returned: success
  type: dict
ended:
  description:
    - For O(step=orphan) the machine with C(resource_id), C(name), C(status), C(vendor), C(price_per_hour) and
      C(created_at), C(why) it ends, and C(by) whom.
  returned: success
  type: dict
csv:
  description:
    - For O(step=spend) the purchases of RV(spend) as comma-separated values, with a line of names above them.
  returned: success
  type: str
spend:
  description:
    - For O(step=spend) upper bounds in USD. C(usd) is the sum since C(since) until C(until), C(hosts), C(groups),
      C(days) and C(months) (UTC) are mappings of its parts. C(purchases) is a list of the 1000 purchases
      that may run or have ended last; C(purchases_left_out) counts the others.
    - C(price_per_hour) is what may be billed now. C(unknown) counts purchases of which price or beginning is unknown;
      they are in no sum.
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
    - For O(step=audit), O(step=spend), O(step=reap), O(step=extend), O(step=probe) and O(step=offers) the same for
      people.
    - For O(step=probe_purchase) what is bought, and how to end it if the run is interrupted.
    - For O(step=registry) what was made and moved.
  returned: success
  type: list
  elements: str
has_lines:
  description:
    - Whether there are RV(lines) to show.
  returned: where there are RV(lines)
  type: bool
trouble:
  description:
    - For O(step=audit) why the audit fails - contested machines, and orphans if asked for; for O(step=reap) what could
      not be read or noted; for O(step=extend) whose machines get no more time, and why; for O(step=registry) what was
      not moved. Empty otherwise.
    - For these, O(step=spend) and O(step=named) also the variables and files of hosts that cannot be read, with the
      hosts. All other hosts have been looked after, and the playbook fails once it has done all that it could.
  returned: success
  type: str
fails:
  description:
    - Whether RV(trouble) says something, so that the playbook fails in the end.
  returned: where there is RV(trouble)
  type: bool
due:
  description:
    - For O(step=reap) the hosts whose lease is over, with C(until), C(price_per_hour) (USD), C(resource_id), C(groups),
      and in C(reached) the connection variables of those that no file beside the inventory has.
  returned: success
  type: list
  elements: dict
reap:
  description: For O(step=reap) the same as data for a workflow, and how many orphans there are.
  returned: success
  type: dict
extended:
  description:
    - For O(step=extend) the hosts that got more time, with C(before), C(until), and C(more) and C(at_most) in USD.
  returned: success
  type: list
  elements: dict
"""
