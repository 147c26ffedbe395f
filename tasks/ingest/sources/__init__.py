"""Sources on other machines and in databases. Each becomes a folder of raw files in the state folder."""
