"""Rubrika from Python: what `import rubrika` offers, over the same rooms as the command line."""
