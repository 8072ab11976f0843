"""Measurements of the pipeline against bare DuckDB; `make bench` runs them."""
