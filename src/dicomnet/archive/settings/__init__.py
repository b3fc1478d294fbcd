"""The settings of a node: one table, from which options, file, environment, example and manual are made."""
