"""How good it is: splits and baselines on rows that were never learned from."""
