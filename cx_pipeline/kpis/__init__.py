"""Key figures, defined once in dbt and computed from those definitions."""
