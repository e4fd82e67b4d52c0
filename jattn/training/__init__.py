"""Trains: run, data, sharding, step, loop, checkpoint, metrics."""
