"""Gives the text and the datasets that a run reads."""
