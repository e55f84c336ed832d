"""Files of computations: folders, what is sent, what is removed."""
