"""Finding the big byte string of a job, in every way that clients spell it."""
from __future__ import absolute_import, division, print_function

import struct
import unittest

from dispynode_lib.errors import ProtocolError
from dispynode_lib.wire import messages
from dispynode_lib.wire.pickle import blobs, pickles
from dispynode_lib.wire.pickle.records import Record
from dispynode_lib.wire.asking import job_request

BIG = bytes(bytearray(range(256))) * 400


def job(args, kwargs=b'\x80\x02}.', python2=False):
    payload = job_request(7, u'ab', 9, args, kwargs, python2=python2)
    return payload[len(b'JOB:'):]


class BlobsTest(unittest.TestCase):
    def check(self, whole, cut):
        blob = blobs.find(whole[:cut], ('_DispyJob_', '_XferFile', 'stat'))
        self.assertEqual(blob.size, len(BIG))
        self.assertTrue(BIG.startswith(blob.begun))
        begin = len(whole[:cut]) - len(blob.begun)
        self.assertEqual(whole[begin:begin + blob.size], BIG)
        message = messages.read_job(blob.message(whole[begin + blob.size:]))
        self.assertEqual((message.uid, message.hash, message.compute_id), (7, u'ab', 9))
        return blob, message

    def test_arguments_of_python_3(self):
        blob, message = self.check(job(BIG), 4096)
        self.assertEqual(message.args, blob.stand_in)
        self.assertEqual(message.kwargs, b'\x80\x02}.')

    def test_arguments_of_python_2(self):
        blob, message = self.check(job(BIG, python2=True), 4096)
        self.assertEqual(message.args, blob.stand_in)

    def test_arguments_of_more_than_4_gib_are_announced_by_8_bytes(self):
        whole = job(BIG).replace(b'B' + struct.pack('<L', len(BIG)),
                                 b'\x8e' + struct.pack('<Q', len(BIG)), 1)
        blob, message = self.check(whole, 4096)
        self.assertEqual(message.args, blob.stand_in)

    def test_big_keyword_arguments(self):
        blob, message = self.check(job(b'\x80\x02).', BIG), 4096)
        self.assertEqual(message.kwargs, blob.stand_in)

    def test_big_code_of_python_2_is_no_arguments(self):
        for fields in ((('code', u'#' * len(BIG)), ('_args', BIG)), (('code', u'#' * 5000),
                                                                     ('_args', BIG))):
            fields = dict(fields + (('uid', 7), ('hash', u'ab'), ('compute_id', 9),
                                    ('_kwargs', b'\x80\x02}.'), ('xfer_files', [])))
            whole = pickles.dump(Record('_DispyJob_', fields), True)
            for cut in range(0, len(whole), 997):
                blob = blobs.find(whole[:cut], ('_DispyJob_', '_XferFile', 'stat'))
                if blob is not None:
                    self.check(whole, cut)

    def test_a_stand_in_at_an_odd_place_is_refused(self):
        job = messages.read_job(
            pickles.dump(
                Record(
                    '_DispyJob_', {
                        'uid': 7, 'hash': u'ab', 'compute_id': 9, '_args': b'x', '_kwargs': b'y',
                        'xfer_files': [], 'code': u'abc'
                    }), True))
        for stand_in, args, kwargs in ((b'f' * 32, b'x', b'y'), (b'y', b'y', b'y'),
                                       (b'abc', b'abc', b'y')):
            job.args, job.kwargs = args, kwargs
            self.assertRaises(ProtocolError, blobs.holder, job, stand_in)

    def test_a_job_without_anything_big_has_none(self):
        self.assertIsNone(blobs.find(job(b'\x80\x02).'), ('_DispyJob_',)))

    def test_what_is_no_job_has_none(self):
        for data in (b'', b'\x80', b'garbage', b'\x80\x03(((', b'B\xff\xff'):
            self.assertIsNone(blobs.find(data, ('_DispyJob_',)))

    def test_a_cut_at_any_place_is_found_or_not_but_never_fails(self):
        whole = job(BIG)
        for cut in range(400):
            blob = blobs.find(whole[:cut], ('_DispyJob_', '_XferFile', 'stat'))
            if blob is not None:
                self.assertEqual(blob.size, len(BIG))


if __name__ == '__main__':
    unittest.main()
