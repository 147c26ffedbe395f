"""Sources on other machines and in databases: each becomes a folder of raw files under the state folder."""
