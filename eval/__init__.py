"""How good it is: splits, metrics, and baselines on rows that were never learned from."""
