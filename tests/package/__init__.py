"""sdist, wheel and `pip install .` in fresh environments; run by the test command only: pip needs
the package index."""
