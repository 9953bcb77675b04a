"""Measurements of planning, the store, the front and the report for a sweep with 100,000 trials."""
