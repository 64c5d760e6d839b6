"""Argosy's client library."""
