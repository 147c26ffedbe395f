"""Peers: RecBole's systems, trained and ranked on our data and lists, in a separate environment."""
