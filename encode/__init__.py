"""Encoders: a product's text or picture in, a unit vector out."""
