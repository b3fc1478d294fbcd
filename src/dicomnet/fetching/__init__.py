"""Retrieval of what a list names, with a journal: what `dicomnet fetch` does, without its command line."""
