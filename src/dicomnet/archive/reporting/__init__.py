"""How others are told of the audit trail: messages of PS3.15 section A.5, to a file and to a syslog server."""
