"""Worlds around one machine each, in which a test says what happens, step by step."""
