"""Which of some things is which of others: the assignment with the highest total score."""

import numpy as np
from numpy.typing import NDArray


def best_matching(score: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Pairs ``(i, j)`` that give every row or every column of ``score [n, m]``, whichever are fewer, a
    partner of its own, with the highest sum of scores; in order of i.

    The Hungarian method by shortest augmenting paths, O(min² · max): Jonker and Volgenant, "A shortest
    augmenting path algorithm for dense and sparse linear assignment problems" (1987).
    """
    if score.shape[0] > score.shape[1]:
        return sorted((i, j) for j, i in best_matching(score.T))
    n, m = score.shape
    cost = -score.astype(float)
    u, v = np.zeros(n), np.zeros(m)  # dual variables: cost[i, j] - u[i] - v[j] >= 0, 0 for matched pairs
    row_of = np.full(m, -1)
    for root in range(n):
        distance, before = np.full(m, np.inf), np.full(m, -1)
        done = np.zeros(m, bool)
        row, column, shortest = root, -1, 0.0
        while True:
            reach = shortest + cost[row] - u[row] - v
            closer = ~done & (reach < distance)
            distance[closer], before[closer] = reach[closer], column
            column = int(np.where(done, np.inf, distance).argmin())
            shortest = distance[column]
            if row_of[column] < 0:
                break
            done[column] = True
            row = int(row_of[column])
        u[root] += shortest
        u[row_of[done]] += shortest - distance[done]
        v[done] -= shortest - distance[done]
        while column >= 0:  # along the path every row moves to the next column
            previous = int(before[column])
            row_of[column] = root if previous < 0 else row_of[previous]
            column = previous
    return sorted((int(i), j) for j, i in enumerate(row_of) if i >= 0)
