"""Stores: where points live and are searched."""
