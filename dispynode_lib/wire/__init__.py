"""Protocol of peers: frames, safe pickles, messages; frames between node and supervisor."""
