"""Trains packs of preference vectors; knows no orchestrator. The door is `trainer.api`."""
