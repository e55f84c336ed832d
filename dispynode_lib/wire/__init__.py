"""What peers say: frames, safe pickles, messages. Serves node and supervisor."""
