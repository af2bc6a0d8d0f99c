"""A census as tables: how well the rank before it did, and what became of the features that it put first."""

from collections.abc import Sequence

from saetui.census.results import Agreement, Census, Hits
from saetui.reports.document import Table
from saetui.reports.spread import over
from saetui.studies.expected import StudyAgreement
from saetui.visible import visible

SHOWN = 15


def census_tables(census: Census, studies: Sequence[StudyAgreement] = ()) -> list[Table]:
    """What would have predicted the census, and each of the ``studies``; the first features by the rank."""
    tables = [agreement_table(census.agreement)] if census.agreement else []
    return [*tables, *map(study_table, studies), first_table(census)]


def agreement_table(agreement: Sequence[Agreement]) -> Table:
    """Every number of the evidence against the census, the one that ranks first."""
    rank = agreement[0]
    rows = [
        (
            one.by,
            _rho(one),
            f"{one.p_value:.2g}",
            *map(_share, one.precision),
            *map(_count, one.split),
        )
        for one in agreement
    ]
    headings = (
        *("evidence before any training", "Spearman", "p"),
        *(f"of the first {hits.at}" for hits in rank.precision),
        *(f"split, of the first {hits.at}" for hits in rank.split),
    )
    chance = ", ".join(f"{hits.by_chance:.0%}" for hits in rank.precision)
    splits = rank.split[0]
    note = (
        f"Against the nats that the context tells of the child, {rank.features} features. Spearman: with its "
        "95 % bootstrap interval over features, p one-sided by permutation. Of the evidence's first N: the "
        f"share that is among the census's first N (a random order: {chance}), and how many of the "
        f"{splits.wanted} that the census finds split by context (a random order: "
        f"{', '.join(f'{hits.at * hits.by_chance:.1f}' for hits in rank.split)}); p hypergeometric. "
        "context_share ranks; it was chosen, of some twenty statistics, on the synthetic world's narrow SAE."
    )
    return Table("What would have predicted it", headings, rows, note)


def study_table(study: StudyAgreement) -> Table:
    """The rank against what a study made of its targets."""
    headings = ("place", "target", "error that context explains", "split", "effective children")
    rows = [
        (
            str(one.place),
            str(one.target),
            f"{one.context_share:.1%}",
            f"{one.split} of {one.judged}",
            over(one.effective, "{:.1f}".format),
        )
        for one in study.targets
    ]
    note = (
        f"place: by the rank before any training, of {study.ranked} features. {study_sentence(study)} To the "
        "split report a split by the token itself is one as well, which the rank is not about."
    )
    return Table(f"The rank and the study {study.study}", headings, rows, note)


def study_sentence(study: StudyAgreement) -> str:
    """How well the order of its targets foretold the study."""
    found = study.agreement
    if found is None:
        return "Fewer than three targets are judged: no order to speak of."
    shares = "; ".join(f"of the first {hits.at}, {hits.found} (p {hits.p_value:.2g})" for hits in found.split)
    return (
        f"With the effective number of children: Spearman {_rho(found)}, p {found.p_value:.2g}, "
        f"{found.features} targets. {found.split[0].wanted} of them split in most runs; {shares}."
    )


def first_table(census: Census) -> Table:
    """The features that the rank puts first, with its reasons and what became of them."""
    measured = {one.feature: one for one in census.features}
    place = {one.feature: i for i, one in enumerate(census.features, 1)}
    rows = [
        (
            str(one.feature),
            f"{one.context_share:.1%} by the {one.side} token",
            f"«{visible(one.commonest)}» {one.commonest_share:.0%}",
            f"{one.unexplained:.0%}",
            f"{one.nearest} at {one.nearest_cosine:.2f}",
            str(measured[one.feature].children),
            f"{measured[one.feature].contexts:.2f}",
            measured[one.feature].split_by,
            str(place[one.feature]),
        )
        for one in census.evidence[:SHOWN]
        if one.feature in measured
    ]
    headings = (
        *("feature", "error that context explains", "commonest token", "left unexplained", "nearest feature"),
        *("k", "contexts", "split by", "place in the census"),
    )
    return Table(f"The first {SHOWN} by the rank, and what the census found", headings, rows)


def _rho(one: Agreement) -> str:
    return f"{one.rho:+.2f} ({one.low:+.2f} … {one.high:+.2f})"


def _share(hits: Hits) -> str:
    return f"{hits.precision:.0%}, p {hits.p_value:.2g}"


def _count(hits: Hits) -> str:
    return f"{hits.found}, p {hits.p_value:.2g}"
