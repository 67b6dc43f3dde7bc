"""Whole jobs: what a command does, as one call that composes the other rooms."""
