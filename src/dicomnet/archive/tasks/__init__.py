"""What administrators do with an archive: tasks, performed by the process that has it, a running node or a command."""
