"""The settings of nodes and tools: one table, from which options, file, environment, example and manual are made."""
