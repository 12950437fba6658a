"""What was measured as a page for a browser: charts, tables, pictures, all in one file."""
