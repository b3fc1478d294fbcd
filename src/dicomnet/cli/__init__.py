"""The `dicomnet` command: `main`, one module for each subcommand, and the code that these share."""
