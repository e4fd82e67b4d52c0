"""Measures time, memory and compression against named peers."""
