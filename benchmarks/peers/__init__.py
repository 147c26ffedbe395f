"""Peers: systems of RecBole, trained and ranked on our data and lists, in an environment of their own."""
