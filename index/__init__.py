"""The index folder: its manifest, its encoders, and the store it points to."""
