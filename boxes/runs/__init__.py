"""Runs on disk: what is decoded into a folder, by whom, and whether it may be compared."""
