"""Whole models, and sampling from them."""
