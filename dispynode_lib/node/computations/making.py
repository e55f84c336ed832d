"""Computations: made for a COMPUTE request, or taken over from a node that has died."""
from __future__ import absolute_import, division, print_function

import collections

from dispynode_lib.node.computations.computation import OPEN, STAGES, Computation

# what computations use of other rooms
#   nursery       node.computations.nursery.Nursery
#   imports       node.shared.known.KnownImports
#   delivery      node.replies.delivery.Delivery
#   journal       node.replies.journal.Journal
#   history       node.shared.history.History
#   ledger        node.shared.ledger.Ledger, or None
#   big_folder    path of the folder for big arguments and results
#   descriptors   that each process may open
#   records       node.replies.records.Records
Uses = collections.namedtuple(
    'Uses', 'nursery imports delivery journal history ledger big_folder descriptors records')

# functions that are told what happens to a computation
#   on_ending(computation)   it has no job left and takes no more; the loop's thread
#   on_ended(computation)    it has gone with its files; a worker's thread
#   on_renewed(computation)  it may be set up anew; the loop's thread
#   on_client_shutdown()     its cleanup function shuts this node down; the loop's thread
#   on_replaced()            another node has taken its supervisor over; the loop's thread
News = collections.namedtuple('News',
                              'on_ending on_ended on_renewed on_client_shutdown on_replaced')


class Computations(object):
    """Makes computations: knows what each of them needs."""

    def __init__(self, common, uses, news):
        self._common, self._uses, self._news = common, uses, news

    def make(self, request, argument, peer, scheduler, node_ip_addr):
        """Return a Computation; the arguments are its own."""
        return Computation(self._common, self._uses, self._news,
                           request, argument, peer, scheduler, node_ip_addr)

    def adopt(self, computation, remembered, link, jobs):
        """Go on with a computation of a node that has died; the loop's thread.

        remembered   node.heritage.Remembered
        link         to its supervisor, None if that has died, too
        jobs         [(Job, node.replies.journal.Noted)]
        """
        from dispynode_lib.node.computations.adoption import Adopted
        computation.setup = remembered.setup
        computation.jobs.adopted = Adopted(computation.jobs, computation, computation.supervision,
                                           self._uses.journal, self._common)
        if remembered.data['set_up']:
            computation.setup_frame()
        computation.closed_by_client = remembered.closed_by_client
        computation.cleaned = remembered.cleaned                # a supervisor that lives knows
        computation.go_on(remembered.stage if remembered.stage in STAGES else OPEN, link)
        computation.jobs.adopted.adopt(jobs)
        if link is None and computation.jobs.count_waiting():
            computation.need_supervisor()
        computation.end_if_drained()
