"""From a query to hits, a vote, and a predicted category."""
