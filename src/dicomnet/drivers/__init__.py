"""The only floor with sockets, TLS, threads and clocks: two drivers, blocking and asyncio, for one core."""
