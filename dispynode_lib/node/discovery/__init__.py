"""How clients and nodes find each other."""
