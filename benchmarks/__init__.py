"""Measurements of dicomnet beside its peers; see README.md."""
