"""The wide SAE: its training step, in several engines, and the run around it."""
