"""This host's network: addresses, listeners, datagrams, TLS."""
