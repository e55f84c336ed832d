"""Looks for schedulers: announces this node when it starts, becomes free, or now and then.

Source: docs/protocol.rst, "Flows", "Pings and service times".
"""
from __future__ import absolute_import, division, print_function

import collections
import threading

from dispynode_lib.host.network import net
from dispynode_lib.host.compat import fraction, monotonic
from dispynode_lib.node.discovery.notices import addresses_of
from dispynode_lib.wire import releases

# seconds after the node became free at which it announces itself: a datagram may be lost, a client
# may still be busy with the answer of before
STEPS = (0.0, 2.0, 6.0, 14.0, 30.0, 60.0)
EVERYBODY_STEPS = 2  # so many of these times it is broadcast to clients of the likeliest releases
WHOLE_STEPS = 0, 3                          # then to those of all
NAMED_INTERVAL = 60.0  # seconds between later attempts to reach --scheduler_node
WAITING_LIMIT = 200                         # clients remembered that were turned away
ADDRESSES = 4                               # tried of one of them
EARLY = 0.05                                # seconds that an announcement may come too soon
FORGET = 1.0  # seconds after which a refused client is told to forget this node
DELAY = 0.5  # seconds: a client of a likely release takes the node meanwhile, which ends it
BUNCH = 2                                   # releases
# seconds between two bunches, of each round: a datagram may be lost. When a thousand nodes start
# together, a client cannot take all of the first round, but those of the second one
GAPS = 0.2, 0.8
# pings to a named scheduler
KNOCK_GAP = 0.1  # seconds from the end of one ping to the next: time for the answer
SLOWER = 4  # times as long again as the connection took: many nodes may knock at once
TIMES = 2                                   # the whole list, to a named scheduler


# a client or scheduler to ping itself: where it listens, and its release if that is known
Candidate = collections.namedtuple('Candidate', 'addresses port version')


class Rounds(object):
    """The list of releases, broadcast over seconds: what is left, how many rounds there were.

    Its owner holds a lock.
    """

    def __init__(self, fraction):
        """`fraction`: function -> random number from 0 to 1."""
        self._fraction = fraction
        self.forget()

    def forget(self):
        """Begin anew: nobody has been told of this node."""
        self._left, self._due, self._done = [], None, 0

    def begin(self, now, pairs, again=False):
        """Go on, or start a round with `pairs`, [(port, release)], likeliest first.

        again   even if there have been enough rounds
        """
        if not self._left and (again or self._done < len(GAPS)):
            self._left = list(pairs)
        self._due = now + DELAY * (0.5 + self._fraction())

    def wait(self, now):
        """Return seconds until the next bunch is due, None if nothing is left."""
        return self._due - now if self._left else None

    def take(self, now):
        """Return the bunch that is due, [] if none is."""
        if not self._left or self._due - now > EARLY:
            return []
        bunch, self._left = self._left[:BUNCH], self._left[BUNCH:]
        self._due = now + GAPS[min(self._done, len(GAPS) - 1)] * (0.5 + self._fraction())
        if not self._left:
            self._done += 1
        return bunch


class Announcer(object):
    """Decides whom to ping when; notices sends it. Any thread."""

    def __init__(self, common, notices, visitors, complaints, known, clock=monotonic,
                 random=fraction):
        """Do nothing before begin().

        known    node.shared.known.KnownReleases
        clock    as the watchdog's
        random   function -> number from 0 to 1
        """
        self._options, self._state, self._identity = common.options, common.state, common.identity
        self._loop, self._workers = common.loop, common.workers
        self._own_address = common.identity.own_address
        self._notices, self._visitors, self._complaints = notices, visitors, complaints
        self._known, self._clock = known, clock
        self._lock = threading.Lock()
        self._began = None                  # when the node became free, None before it started
        self._step = 0                      # of STEPS, the next one
        self._last = None                   # when it was announced last
        self._beat = None  # from when --ping_interval counts: the start, then each time it is over
        # sign or (address, port) of those turned away -> Candidate, oldest first
        self._waiting = collections.OrderedDict()
        self._last_scheduler = None         # Candidate
        self._named = {}                    # name of --scheduler_node -> its addresses
        self._found = set()                 # those that have pinged since the node became free
        self._rounds = Rounds(random)
        self._expected = {}  # (address, port) -> Candidate: clients of a node that was killed
        self._knocks = Knocks(common, notices, self._is_wanted, clock, random)

    # -- what others tell

    def begin(self, delay=0.0):
        """The node can be had: announce it in `delay` seconds and again, unless it is taken."""
        with self._lock:
            self._began = self._beat = self._clock() + delay
            self._step, self._found = 0, set()

    def begin_anew(self):
        """The network is another one: nobody there has been told of this node."""
        with self._lock:
            self._rounds.forget()
        self.begin()

    def served(self, scheduler, version):
        """A scheduler, (address, port), has opened a computation: keep its port and release."""
        with self._lock:
            self._last_scheduler = Candidate([scheduler[0]], scheduler[1], version)
        self._visitors.opened(*scheduler)
        if version is not None:
            self._workers.run(self._known.add, scheduler[1], version)

    def expect(self, schedulers):
        """Ping clients of a killed node, [(address, port, release)], until they answer."""
        with self._lock:
            self._expected = dict(((address, port), Candidate([address], port, release))
                                  for address, port, release in schedulers)

    def came_from_earlier(self, address):
        """A client at `address` came with the token of an earlier run: ping it in the releases that
        it may be of, on a connection, until it asks this node. May be the loop's thread."""
        with self._lock:
            self._named[address] = [address]
            self._found.discard(address)
        if self._state.refusal() is None:
            self._workers.run(self._knock, address, [address], self._candidates())

    def turned_away(self, ping, source):
        """A client pinged in vain: it will not ask again, so it is pinged when the node is free."""
        addresses = addresses_of(ping, source)
        owner = self._state.scheduler()
        if not addresses or owner in [(address, ping.port) for address in addresses]:
            return  # nobody to ping, or the very scheduler that has the node
        self._wait(ping.sign or (addresses[0], ping.port),
                   Candidate(addresses[:ADDRESSES], ping.port, ping.version))

    def compute_refused(self, scheduler, peer):
        """A client that knows this node found it taken: it is made to forget the node."""
        candidate = Candidate([scheduler[0]], scheduler[1], peer.version)
        self._wait(scheduler, candidate)
        own = self._own_address(scheduler[0])
        if own is not None:
            self._loop.call_soon(self._loop.call_later, FORGET, self._notices.terminated_at,
                                       scheduler, peer, own)

    def _wait(self, key, candidate):
        self._visitors.refused((candidate.addresses[0], candidate.port), candidate.version,
                               candidate.addresses)
        with self._lock:
            if key not in self._waiting and len(self._waiting) >= WAITING_LIMIT:
                self._waiting.popitem(last=False)
            self._waiting[key] = candidate

    def answered(self, ping, source):
        """A client was sent a PONG: it knows the node now."""
        with self._lock:
            told = set([source] + list(ping.ip_addrs))
            self._found.update(name for name, addresses in self._named.items()
                               if told.intersection(addresses))
            for address in told:
                self._expected.pop((address, ping.port), None)
            for key in (ping.sign, (source, ping.port)):
                self._waiting.pop(key, None)

    # -- the duty

    def wait(self, now):
        """Return seconds until the node announces itself next, None while it cannot be had."""
        if self._state.refusal() is not None:
            return None
        with self._lock:
            waits = [self._wait_locked(now), self._rounds.wait(now)]
        return min([wait for wait in waits if wait is not None] or [None])

    def _wait_locked(self, now):
        if self._began is None:
            return None
        options, times = self._options, []
        if self._step < len(STEPS):
            times.append(self._began + STEPS[self._step])
        elif not options.ping_interval and self._missing():
            times.append(self._last + NAMED_INTERVAL)
        if options.ping_interval:
            times.append(self._beat + options.ping_interval)
        return min(times) - now if times else None

    def _missing(self):
        """Return the names of --scheduler_node that have not pinged."""
        return [name for name in self._options.scheduler_node if name not in self._found]

    def _is_wanted(self, name):
        with self._lock:
            return name not in self._found

    def announce(self, now):
        """Ping everybody, or only those who are known to wait."""
        if self._state.refusal() is not None:
            return
        with self._lock:
            bunch, wait = self._rounds.take(now), self._wait_locked(now)
        if bunch:
            self._workers.run(self._broadcast, bunch)
        if wait is not None and wait <= EARLY:
            others = self._others()
            with self._lock:
                step = self._due_step(now, others)
            self._workers.run(self._send, *step)

    def _due_step(self, now, others):
        """Return the arguments of _send for the step; `others`: list for a whole round."""
        everybody, again = self._is_for_everybody(now)
        if self._step in WHOLE_STEPS or again:
            self._rounds.begin(now, others, again)
        first = 1 << self._step             # those who wait longest come first
        waiting = list(self._expected.values()) + list(self._waiting.values())[:first]
        if self._last_scheduler is not None:
            waiting.append(self._last_scheduler)
        if self._step < len(STEPS) and now + EARLY >= self._began + STEPS[self._step]:
            self._step += 1
        self._last = now
        return everybody, waiting, self._missing()

    def _is_for_everybody(self, now):
        """Return (whether to broadcast, whether that is because --ping_interval is over)."""
        interval = self._options.ping_interval
        if interval and now + EARLY >= self._beat + interval:
            self._beat = now
            return True, True
        return self._step < EVERYBODY_STEPS, False

    # -- sending, in a worker

    def _send(self, everybody, waiting, named):
        wanted = self._candidates()
        if everybody:
            self._broadcast(wanted)
        for candidate in waiting:
            self._ping(candidate.addresses, candidate.port, candidate.version, wanted)
        for name in named:
            try:
                addresses = net.resolve(name)
            except EnvironmentError as error:
                self._complaints.note(name, '--scheduler_node not found', error.strerror or error)
                continue
            with self._lock:
                self._named[name] = addresses
            self._knock(name, addresses, wanted)

    def _broadcast(self, pairs):
        for own in self._identity.addresses:
            self._notices.announce_to_all(own, pairs)

    def _knock(self, name, addresses, wanted):
        """Ping the scheduler `name` in its release if known, else in one after the other."""
        others = self._others()
        for port in sorted(set(port for port, _release in wanted)):
            heard = [address for address in addresses
                     if self._notices.peer_at(address, port).version]
            self._ping(heard, port, None, wanted)
            for address in addresses:
                own = self._own_address(address)
                if own is not None and address not in heard:
                    self._knocks.begin(name, own, (address, port), releases_at(port, wanted),
                                       releases_at(port, others))

    def _candidates(self):
        options = self._options
        return releases.candidates(self._known.all(), options.client_release,
                                   options.scheduler_port)

    def _others(self):
        return releases.others(self._candidates(), self._options.scheduler_port)

    def _ping(self, addresses, port, version, wanted):
        """Ping a client whose port is known, in its release, or in each that may listen there."""
        for address in addresses:
            own = self._own_address(address)
            if own is None:
                continue
            heard = version or self._notices.peer_at(address, port).version
            versions = [heard] if heard else releases_at(port, wanted)
            for release in versions:
                self._notices.announce_to(own, address, port, release)

    def say_goodbye(self):
        """Tell everybody that this node is gone; at once."""
        for own in self._identity.addresses:
            self._notices.terminated_to_all(own, self._candidates())

    def describe(self):
        """Return lines (text) that tell whom this node looks for."""
        wanted = self._candidates()
        lines = [u'announces itself to clients of all releases, first of %s' % u', '.join(
            u'%s at port %d' % (release, port) for port, release in wanted)]
        options = self._options
        for own in self._identity.addresses:
            targets = sorted(set(target for _port, release in wanted
                                 for target in self._notices.targets(own, release)))
            lines.append(u'from %s to %s' % (own, u', '.join(targets)))
        if options.scheduler_node:
            lines.append(u'and to the scheduler at ' + u', '.join(options.scheduler_node))
        return lines


def releases_at(port, pairs):
    """Return those releases of [(port, release)] whose clients listen at `port`."""
    return [release for listens, release in pairs if listens == port]


class Knocks(object):
    """Pings to named schedulers of unknown release, one after the other, each on a connection.

    A scheduler logs a line for each ping of another release, and answers none; so the whole list
    comes twice at most while it listens. A connection that fails speaks for all releases of its
    port. The loop's thread, but for begin().
    """

    def __init__(self, common, notices, is_wanted, clock=monotonic, random=fraction):
        """`is_wanted`: function(name) -> whether the scheduler of that name is still looked for."""
        self._state, self._loop = common.state, common.loop
        self._notices = notices
        self._is_wanted = is_wanted
        self._clock, self._random = clock, random
        self._running = set()               # (address, port)
        self._unheard = {}  # (address, port) -> how often all releases have been tried

    def begin(self, name, own, target, likely, others):
        """Try the `likely` releases at `target`, then perhaps the others. Any thread."""
        self._loop.call_soon(self._begin, name, own, target, likely, others)

    def _begin(self, name, own, target, likely, others):
        if target not in self._running:
            self._running.add(target)
            whole = self._unheard.get(target, 0) < TIMES
            self._next(name, own, target, likely + (others if whole else []))

    def _next(self, name, own, target, versions):
        if not versions or self._state.refusal() is not None or not self._is_wanted(name):
            self._running.discard(target)
            if not versions:
                self._unheard[target] = self._unheard.get(target, 0) + 1
            return
        began = self._clock()

        def tried(_reply, error):
            if error is None:
                gap = (KNOCK_GAP + SLOWER * (self._clock() - began)) * (0.5 + self._random())
                self._loop.call_later(gap, self._next, name, own, target, versions[1:])
                return
            self._running.discard(target)
            self._unheard.pop(target, None)     # who listens there later may be of another release
            self._notices.forget(*target)
        self._notices.knock(own, target, versions[0], tried)
