"""How long planning, the store, the front and the report take where a sweep has 100,000 trials."""
