"""Products: what they are, reading them from parquet, and the text an encoder sees."""
