"""What all rooms of the node use: its state, its identity, complaints."""
