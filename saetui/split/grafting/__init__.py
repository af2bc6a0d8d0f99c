"""A feature split in place: children in the target's stead, the rest frozen."""
