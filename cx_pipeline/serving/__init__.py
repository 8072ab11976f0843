"""The published files: what BI tools and programs read."""
