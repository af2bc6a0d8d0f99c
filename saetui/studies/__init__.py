"""Studies: a grid of runs described in one file, carried out, and read as one table. Without torch, but for
``cells`` (which looks at the narrow SAE) and ``conductor`` (which judges)."""
