"""From labelled products to points in a store."""
