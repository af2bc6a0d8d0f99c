"""What plots have in common, on screens and in reports: ticks and colours."""
