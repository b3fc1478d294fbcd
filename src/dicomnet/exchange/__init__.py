"""What is asked and what is answered, for both faces: addresses, contexts, messages, results. No link, no thread."""
