"""Machines for Hypothesis that let anything happen, and check the laws after each step."""
