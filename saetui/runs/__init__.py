"""Runs: detached worker processes and the folders that they leave. The folder is the interface: whoever
wants to know something about a run reads its files, and nothing here but ``worker`` and the lazily
imported halves of ``checkpoint`` ever needs torch."""
