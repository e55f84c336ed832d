"""Objects that all rooms of the node use: state, identity, complaints."""
