"""Training of packs of preference vectors, independent of any orchestrator. The public interface is `trainer.api`."""
