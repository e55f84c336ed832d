"""Real pickles, which hold what users made: only supervisors and jobs open them."""
from __future__ import absolute_import, division, print_function

import sys

from dispynode_lib.supervisor.processes.lean import PYTHON2, pickles

NEWEST = pickles.dumps(None, -1)[1:2]  # highest protocol of this Python, as it stands in a pickle
HIGHEST = ord(NEWEST)
PLAIN = (type(None), bool, int, float)


class StandIn(object):
    """Stand-in for a class of the client library: the pickled state is in its attributes."""


class Function(object):
    """Stand-in for the older generation's `_Function`: a name, and arguments for its call."""

    def __new__(cls, name, args=(), kwargs=None):
        self = object.__new__(cls)
        self.name, self.args, self.kwargs = name, args, kwargs or {}
        return self


# What Python 2 makes these results of its module os from, in pickles; Python 3 calls the classes
MAKERS = {('os', '_make_stat_result'): 'stat_result',
          ('os', '_make_statvfs_result'): 'statvfs_result'}
STAND_INS = {'_Compute': StandIn, '_XferFile': StandIn, '_Function': Function}


def unpickle(data, python2=False, stand_ins=False):
    """Return the object in the pickle `data` (bytes or memoryview).

    python2     the pickle was written by Python 2: its byte strings become text
    stand_ins   `dispy _Compute` and its like become StandIn and Function
    Raises whatever the pickle makes the classes in it raise.
    """
    if PYTHON2:
        return _load_on_python2(bytes(data), stand_ins) if python2 else _load_from_python3(
            bytes(data), stand_ins)
    if not (python2 or stand_ins or bytearray(data[:2])[1:] > NEWEST):
        return pickles.loads(data)
    if not python2:
        return _load(data, 'ASCII', stand_ins)
    try:
        return _load(data, 'utf-8', stand_ins)
    except UnicodeDecodeError:
        return _load(data, 'latin-1', stand_ins)    # arrays and dates of Python 2 hold raw bytes


def loader(python2, protocol):
    """Return the function that loads the pickles in jobs of one client: unpickle(), or what does
    the same sooner.

    protocol   the highest that was seen from this client
    """
    if PYTHON2 or python2 or protocol > HIGHEST:
        return lambda data: unpickle(data, python2)
    return pickles.loads


def _load(data, encoding, stand_ins):
    if bytearray(data[:1]) == b'\x80' and bytearray(data[1:2]) > NEWEST:
        from dispynode_lib.supervisor.pickles import newer_pickles
        return newer_pickles.load(data, encoding, _stand_in if stand_ins else None)
    import io
    loader = _loader_class()(io.BytesIO(data), encoding=encoding)
    loader.stand_ins = stand_ins
    return loader.load()


def _loader_class():
    class Loader(pickles.Unpickler):
        """Unpickler that knows classes of the client library, and names of Python 2."""

        def find_class(self, module, name):
            found = _stand_in(module, name) if self.stand_ins else None
            if found is None and (module, name) in MAKERS:
                name = MAKERS[module, name]
            elif module == 'nt':            # functions of os, of a client on Windows
                module = 'os'
            return found or super(Loader, self).find_class(module, name)
    return Loader


def _stand_in(module, name):
    """Return the class to use for a global of the client library, or None for any other."""
    return STAND_INS.get(name) if module in ('dispy', '__main__') else None


def _load_from_python3(data, stand_ins):
    from dispynode_lib.supervisor.pickles import python3_pickles
    return python3_pickles.load(data, _stand_in if stand_ins else None)


def _load_on_python2(data, stand_ins):
    if not stand_ins:
        return pickles.loads(data)
    import cStringIO
    loader = pickles.Unpickler(cStringIO.StringIO(data))
    loader.find_global = _find_global
    return loader.load()


def _find_global(module, name):
    found = _stand_in(module, name)
    if found is None:
        __import__(module)
        found = getattr(sys.modules[module], name)
    return found


class Pieces(list):
    """Output of a pickler in pieces: big byte strings are not copied."""

    def write(self, piece):
        if not hasattr(piece, '__len__'):
            piece = piece.raw()             # a PickleBuffer: what is in an array of any shape
        self.append(piece)
        return len(piece)


def pickle(value, protocol):
    """Return the pickle of `value` as a list of bytes-like pieces.

    protocol   the highest that its reader can read
    Raises whatever the classes of the value raise.
    """
    if PYTHON2 and protocol > HIGHEST and type(value) not in PLAIN:
        from dispynode_lib.supervisor.pickles import python3_pickles
        return [python3_pickles.dump(value)]
    if PYTHON2 or type(value) in PLAIN:
        return [pickles.dumps(value, min(protocol, HIGHEST))]
    pieces = Pieces()
    pickles.Pickler(pieces, min(protocol, HIGHEST)).dump(value)
    return pieces
