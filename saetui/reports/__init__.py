"""Runs and studies as documents, for an appendix or a colleague. Without torch."""
