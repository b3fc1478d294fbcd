"""The `dicomnet` command: `main`, a module for each subcommand, and what they share."""
