"""``saetui ungate``: a graft as a plain SAE that other tools open."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from saetui.commands.options import json_option
from saetui.commands.output import emit_json, say
from saetui.settings import runs_root

if TYPE_CHECKING:
    from saetui.split.grafting.ungated import UngatedReport


@dataclass(frozen=True)
class UngatedOutput:
    """What ``--json`` prints; ``sae`` is the folder."""

    run: str
    sae: str
    report: dict[str, Any]


@click.command()
@click.argument("run", metavar="RUN")
@json_option
def command(run: str, as_json: bool) -> None:
    """Train the children of the graft RUN to do without their gate, and write the result as a SAELens folder.

    The gated graft stays as it is; both are measured on the same held-out tokens, so that what the plain SAE
    costs stands beside what it gives.
    """
    from saetui.runs.store import find_run
    from saetui.split.grafting.ungate_run import ungate_run

    found = find_run(runs_root(), run)
    say(f"training the children of {found.id} to be silent off the target …")
    report = ungate_run(found)
    folder = found.folder / "sae"
    if as_json:
        emit_json(UngatedOutput(found.id, str(folder), asdict(report)))
        return
    for line in report_lines(report):
        click.echo(line)
    say(f"the plain SAE is in {folder}")


def report_lines(report: "UngatedReport") -> list[str]:
    """The gated and the ungated graft beside the narrow SAE, as lines of text."""
    lines = [
        f"{report.tokens:,} held-out tokens, {report.hot:,} of them the target's; "
        f"trained in {report.cost.sae_s:.1f} s",
        f"{'':34}{'narrow':>8}{'gated':>8}{'ungated':>9}",
    ]
    for name, values, form in (
        (
            "squared error, target's tokens",
            (report.error_narrow, report.error_gated, report.error_ungated),
            ".1f",
        ),
        ("FVU, all tokens", (report.fvu_narrow, report.fvu_gated, report.fvu_ungated), ".4f"),
        ("FVU, other tokens", (report.fvu_off_narrow, report.fvu_off_narrow, report.fvu_off_ungated), ".4f"),
    ):
        narrow, gated, plain = (format(value, form) for value in values)
        lines.append(f"{name:<34}{narrow:>8}{gated:>8}{plain:>9}")
    return [
        *lines,
        f"off the target a child fires on {report.off_target:.2%} of the tokens "
        f"({report.off_target_untrained:.1%} with the gate merely left out, none with it)",
        f"{report.precision:.1%} of the children's firings are on the target's tokens; "
        f"one fires on {report.covered:.1%} of these",
        f"agreement of the children with and without their gate: {report.agreement:.3f}",
        *_f1_lines(report),
    ]


def _f1_lines(report: "UngatedReport") -> list[str]:
    if report.f1_gated is None or report.f1_ungated is None:
        return []
    return [f"mean F1 of the expected children: {report.f1_gated:.3f} gated, {report.f1_ungated:.3f} ungated"]
