"""The k highest scored entries of every feature, out of a stream of sparse entries."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Entries:
    """Firings: ``feature`` and ``place`` (int64), ``score`` and ``activation`` (fp32), each ``[n]``."""

    feature: Tensor
    place: Tensor
    score: Tensor
    activation: Tensor

    def __len__(self) -> int:
        return len(self.feature)

    def __getitem__(self, chosen: Tensor | slice) -> "Entries":
        return Entries(self.feature[chosen], self.place[chosen], self.score[chosen], self.activation[chosen])

    @staticmethod
    def cat(parts: list["Entries"]) -> "Entries":
        return Entries(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Entries)))


@dataclass(frozen=True)
class _State:
    """Replaced as a whole, so that a reader in another thread sees either the old or the new."""

    score: Tensor
    """``[d_sae, k]``, 0 where a feature has fewer than k entries."""
    place: Tensor
    """``[d_sae, k]``, -1 where there is none."""
    activation: Tensor
    """``[d_sae, k]``."""
    waiting: tuple[Entries, ...]
    """Entries not merged yet, …"""
    count: int
    """… and how many they are."""


class BestPerFeature:
    """For every feature the ``k`` entries of highest score, highest first; equal scores by place.

    The result depends on the entries alone, not on how the stream was cut. Entries wait in a buffer and
    are merged by one sort when it is full; those below a feature's k-th score never enter it, so the
    cost falls as the stream goes on. Memory O(d_sae * k). One thread writes, any may read.
    """

    def __init__(self, d_sae: int, k: int, device: torch.device | str = "cpu") -> None:
        self.d_sae, self.k = d_sae, k
        zeros = torch.zeros(d_sae, k, device=device)
        places = torch.full((d_sae, k), -1, dtype=torch.int64, device=device)
        self._state = _State(zeros, places, zeros.clone(), (), 0)

    def offer(self, entries: Entries) -> None:
        """Takes entries whose scores are positive, in rising order of place, later than all before."""
        state = self._state
        # An equal score at a later place loses against the k-th, hence strictly above.
        entries = entries[entries.score > state.score[entries.feature, -1]]
        if len(entries):
            waiting, count = (*state.waiting, entries), state.count + len(entries)
            self._state = _State(state.score, state.place, state.activation, waiting, count)
            if count > self.d_sae * self.k // 2:
                self._merge()

    def of(self, feature: int) -> Entries:
        """A feature's best entries, highest score first."""
        state = self._state
        held = state.place[feature] >= 0
        place = state.place[feature][held]
        index = torch.full_like(place, feature)
        parts = [Entries(index, place, state.score[feature][held], state.activation[feature][held])]
        parts += [entries[entries.feature == feature] for entries in state.waiting]
        return _sorted(Entries.cat(parts))[: self.k]

    def places(self) -> Tensor:
        """Places ``[d_sae, k]`` of every feature's best entries, highest score first; -1: none."""
        return self._merged().place

    def highest(self) -> Tensor:
        """The highest score of every feature ``[d_sae]``, 0 where there is none."""
        state = self._state
        highest = state.score[:, 0].clone()
        for entries in state.waiting:
            highest.scatter_reduce_(0, entries.feature, entries.score, "amax")
        return highest

    def tensors(self) -> dict[str, Tensor]:
        """State for a file, for the thread that writes: ``score``, ``place``, ``activation [d_sae, k]``."""
        self._merge()
        state = self._state
        return {"score": state.score, "place": state.place, "activation": state.activation}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Takes back what ``tensors`` gave."""
        device = self._state.score.device
        score, place, activation = (tensors[name].to(device) for name in ("score", "place", "activation"))
        self._state = _State(score, place, activation, (), 0)

    def _merge(self) -> None:
        self._state = self._merged()

    def _merged(self) -> _State:
        """The state with nothing waiting."""
        state = self._state
        if not state.waiting:
            return state
        waiting = Entries.cat(list(state.waiting))
        touched = torch.unique(waiting.feature)
        held = state.place[touched] >= 0
        old = Entries(
            touched[:, None].expand(-1, self.k)[held],
            state.place[touched][held],
            state.score[touched][held],
            state.activation[touched][held],
        )
        both = _sorted(Entries.cat([old, waiting]))
        first = torch.searchsorted(both.feature, touched)  # where each feature's entries begin
        order = torch.arange(len(both), device=first.device)
        rank = order - first[torch.searchsorted(touched, both.feature)]
        kept, rank = both[rank < self.k], rank[rank < self.k]
        score, place, activation = state.score.clone(), state.place.clone(), state.activation.clone()
        score[kept.feature, rank] = kept.score
        place[kept.feature, rank] = kept.place
        activation[kept.feature, rank] = kept.activation
        return _State(score, place, activation, (), 0)


def _sorted(entries: Entries) -> Entries:
    """By feature, then score descending, then place: one stable sort, since entries come by place.

    The bits of positive floats rise with their values, so feature and score fit one integer.
    """
    descending = 0x7FFFFFFF - entries.score.view(torch.int32).long()
    return entries[torch.argsort((entries.feature << 31) + descending, stable=True)]
