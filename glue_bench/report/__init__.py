"""Records and published numbers to tables. Knows no torch; everything it needs is on disk."""
