"""Benchmarks of dicomnet and its peers; see README.md."""
