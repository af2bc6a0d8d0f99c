import os

# Threads of a matrix product that wait for each other sleep instead of spinning. A run, the engine and the
# workbench share a machine's cores: spinning, each of them slows the others down, and itself (a training step
# on two busy cores took 4 to 5 times as long). OpenMP reads this when torch is loaded, so it must come first.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
