"""The systems that the paper compares GenSR with, on one input contract; docs/baselines.md shows how to add one."""
