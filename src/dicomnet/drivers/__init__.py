"""The only floor with sockets, TLS, threads and clocks: what both drivers share, and a folder for each."""
