"""Rubrika tells a marketplace which category a product belongs to, by the labelled products most like it."""

__version__ = "0.1.0"
