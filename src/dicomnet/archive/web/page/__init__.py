"""The node's pages for people, at ``/``: HTML from templates, one style sheet, one script, and no other host."""
