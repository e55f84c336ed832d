"""Real, unmodified dispy clients against a real node; run by the test command only.

The modules are named interop_*.py, so that plain unittest discovery, which has neither dispy nor
a network of its own, leaves them alone.
"""
