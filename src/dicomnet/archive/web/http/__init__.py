"""What answers by HTTP need, of whatever service: bodies, negotiation, conditions, multipart messages."""
