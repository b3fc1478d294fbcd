"""Where the files of an archive are kept."""
