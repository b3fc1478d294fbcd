"""The catalogue: what is stored, for queries.

It is derived from the files, and may be rebuilt from them at any moment.
"""
