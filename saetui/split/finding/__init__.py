"""Children found without being told what to look for, measured and compared."""
