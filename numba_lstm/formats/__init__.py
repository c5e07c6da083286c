"""Bytes to arrays and back, nothing executed."""
