"""Learning encoders from labelled products."""
