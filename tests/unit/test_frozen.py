"""What the releases before have written to the state folder is read as it was meant."""
from __future__ import absolute_import, division, print_function

import os
import unittest

from dispynode_lib.host.compat import to_text
from dispynode_lib.log import CRITICAL, output
from dispynode_lib.node import heritage as heritages
from dispynode_lib.node.shared.known import KnownReleases
from dispynode_lib.node.files.folders import Folders
from dispynode_lib.node.operator.statefolder import StateFolder
from dispynode_lib.node.replies.journal import ACCEPTED, STOPPING, Journal
from dispynode_lib.node.replies.records import Records
from dispynode_lib.node.replies.spool import PREFIX, Spool
from dispynode_lib.node.shared import identity
from dispynode_lib.options.parser import Options
from dispynode_lib.wire import control
from tests.support import frozen

NOTED = ['big', 'file', 'gone', 'long', 'prog', 'prog-told', 'runs', 'stopped', 'told', 'with-file']


class FrozenCase(unittest.TestCase):
    """Each test runs once for each release that is kept."""

    maxDiff = None

    def each(self, check):
        """Call `check(Frozen, root)` with the unpacked files of each release."""
        self.assertTrue(frozen.names())
        for release in frozen.names():
            one, root = frozen.load(release), frozen.new_root()
            self.addCleanup(frozen.remove_root, root)
            one.unpack(root)
            check(one, root)


class StateTest(FrozenCase):

    def test_the_sign_and_the_computations_of_an_older_node_are_known(self):
        self.each(self.check_heritage)

    def check_heritage(self, one, root):
        options = Options()
        options.dest_path_prefix, options.node_port = to_text(root), one.ports[0]
        folder = StateFolder(options)
        folder.open()
        self.addCleanup(folder.close, False)
        self.assertEqual(folder.generation, 2)
        before, data = folder.before()
        records = Records(folder.path, 60, folder.generation)
        heritage = heritages.find(before, data, records, folder.is_of_client)
        self.assertEqual(heritage.sign, one.sign)
        self.assertEqual(sorted(records.supervisors()), [])         # sockets are not unpacked
        found = dict((remembered.data['id'], remembered) for remembered in heritage._remembered)
        self.assertEqual(sorted(found), sorted(number for number, _auth in one.opened.values()))
        for name, (number, auth) in one.opened.items():
            self.check_computation(one, root, found[number], name, auth)
        self.check_late_cleanup(records, heritage, found)

    def check_late_cleanup(self, records, heritage, found):
        """A supervisor that has begun cleanup while this node started, and ended."""
        self.addCleanup(setattr, output, 'level', output.level)
        output.level = CRITICAL + 1
        numbers = sorted(found)
        path = records.path(control.SUPERVISORS, '%d-%s%s' % (numbers[0], 'a' * 16, control.CLEANED))
        with open(path, 'w'):
            pass
        for number in numbers:
            self.assertIsNone(heritage._find(found[number], [], None))
        self.assertEqual([found[number].cleaned for number in numbers],
                         [True] + [False] * (len(numbers) - 1))

    def check_computation(self, one, root, remembered, name, auth):
        request, peer = remembered.request, remembered.peer
        self.assertEqual((request.auth, request.type), (auth, 1 + (name == 'program')))
        self.assertEqual(request.name, u'f' if name == 'function' else to_text(root) + u'/flag.sh')
        self.assertEqual(request.code, frozen.CODE if name == 'function' else u'')
        self.assertEqual((peer.version, peer.python2, peer.protocol), (u'4.15.2', False, 5))
        self.assertEqual(remembered.scheduler, (u'127.0.0.1', one.ports[1]))
        self.assertEqual((remembered.node_ip_addr, remembered.callers),
                         (u'127.0.0.1', frozenset([u'127.0.0.1'])))
        self.assertEqual((remembered.stage, remembered.closed_by_client, remembered.cleaned),
                         (u'open', False, False))
        self.assertTrue(os.path.isdir(remembered.folder), remembered.folder)
        if name == 'function':
            word, argument, which = remembered.setup
            self.assertEqual((word, which), (b'setup', b'setup'))
            self.assertIn(b'setup_args', argument)
        sent = os.path.join(remembered.folder, 'flag.sh' if name == 'program' else 'flag.sent')
        folder = Folders(to_text(root)).adopt(remembered.folder)
        folder.note_uses(remembered.files_path)
        self.assertEqual(folder._uses, {sent: 1})

    def test_jobs_noted_by_an_older_node_are_known_with_all_they_need(self):
        self.each(self.check_journal)

    def check_journal(self, one, root):
        jobs = dict((noted.uid, noted) for noted in
                    Journal(os.path.join(one.state_folder(root), 'journal'), b'').take_over())
        names = dict((uid, name) for name, (_computation, uid, _hash) in one.jobs.items())
        self.assertEqual(sorted(names[uid] for uid in jobs), NOTED)
        keys = dict(os.path.basename(path).split('-') for path in one.files
                    if '/supervisors/' in path)
        for uid, noted in jobs.items():
            name = names[uid]
            computation_id, _uid, hash_ = one.jobs[name]
            self.assertEqual((noted.computation_id, noted.hash), (computation_id, hash_))
            self.assertEqual(noted.auth, dict(one.opened.values())[computation_id])
            self.assertEqual(noted.flags, ACCEPTED | (STOPPING if name == 'stopped' else 0), name)
            self.assertEqual(noted.key, keys['%d' % computation_id].encode('ascii'))
            self.assertEqual(noted.number >= control.FIRST_PROGRAM, name.startswith('prog'))
            self.assertEqual((noted.result_address, noted.node_ip_addr),
                             ((u'127.0.0.1', one.ports[1]), u'127.0.0.1'))
            self.assertEqual((noted.peer.python2, noted.peer.protocol, len(noted.token)),
                             (False, 5, 40))
            self.assertTrue(1.79e9 < noted.started < 4e9)
            self.assertEqual([tuple(sent) for sent in noted.xfer_files],
                             [(u'', u'%s/flag.sent' % root, u'/')] * (name == 'with-file'))
            self.check_frame(name, noted, hash_, root)

    def check_frame(self, name, noted, hash_, root):
        parts = control.unpack(noted.frame[4:])
        identity_ = [b'%d' % noted.uid, hash_.encode('ascii')]
        if name.startswith('prog'):
            self.assertEqual((parts[0], parts[3:]), (b'program', identity_))
            return
        self.assertEqual((parts[0], parts[1:3]), (b'filejob' if name == 'file' else b'job',
                                                  identity_))
        self.assertEqual(len(parts), 6)
        if name == 'long':
            self.assertIn(b'm' * 5000, parts[5])
        if name == 'file':
            with open(heritages.argument_file(noted), 'rb') as source:
                self.assertIn(b'n' * 70000, source.read())

    def test_replies_kept_by_an_older_node_are_whole(self):
        self.each(self.check_spool)

    def check_spool(self, one, root):
        spool = Spool(os.path.join(one.state_folder(root), 'undelivered'), b'now')
        computation_id, auth = key = tuple(one.opened['function'])
        owner = spool.owner(computation_id, auth)
        self.assertEqual(owner.result_address, (u'127.0.0.1', one.ports[1]))
        self.assertTrue(spool.knows_token(owner.token))
        jobs = dict((name, tuple(one.jobs[name][1:])) for name in ('kept', 'refused'))
        self.assertEqual(spool.jobs(key), sorted(jobs.values()))
        self.assertEqual(spool.to_send(key), [jobs['kept']])
        for name, job in jobs.items():
            payload = spool.find(key, job)
            self.assertTrue(payload.startswith(PREFIX))
            self.assertIn(name.encode('ascii'), payload)

    def test_lists_of_an_older_node_are_read(self):
        self.each(self.check_lists)

    def check_lists(self, one, root):
        folder = one.state_folder(root)
        self.assertEqual(KnownReleases(os.path.join(folder, 'releases')).all(),
                         [(one.ports[1], u'4.15.2')])
        self.assertEqual(identity.remembered_signs(os.path.join(folder, 'signs'), u'new'),
                         [one.sign])


if __name__ == '__main__':
    unittest.main()
