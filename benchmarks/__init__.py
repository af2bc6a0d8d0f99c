"""Each measures one thing, prints a table and leaves its figures in ``results/``."""

# First of all, before any of them loads torch: what a run sets for OpenMP's threads, which then holds for the
# loops that it is compared with too. By default these spin while they wait, and CPU seconds would count it.
import saetui  # noqa: F401
