"""Who may what by HTTP: users, sessions, tokens, proxies, origins, and the audit trail of it."""
