"""``saetui replacing``: when the target of a run was overtaken on each probe prompt, and by which feature."""

import click

from saetui.commands.options import json_option
from saetui.commands.output import emit_json, say
from saetui.errors import UserError
from saetui.quantities import si
from saetui.runs.metrics import curve
from saetui.runs.store import find_run
from saetui.settings import runs_root
from saetui.split.finding.overtaking import Lead, Overtaking, overtakings, own_target
from saetui.visible import visible


@click.command()
@click.argument("run_id", metavar="ID")
@json_option
def command(run_id: str, as_json: bool) -> None:
    """When the target of the run ID was overtaken on each probe prompt, and by which feature.

    With random initialisation no feature began as the target: then only who leads, and since when.
    """
    run = find_run(runs_root(), run_id)
    manifest = run.manifest
    target = own_target(manifest.kind, manifest.recipe)
    found = overtakings(curve(run.read_metrics()), target)
    if not found:
        raise UserError(f"{run.id} has recorded no probe prompts: a criteria file (--criteria) names them")
    if as_json:
        emit_json({"run": run.id, "target": target, "overtakings": found})
        return
    if target is None:
        say("random initialisation: no feature of this SAE began as the target")
    for one in found:
        click.echo(f"{visible(one.prompt)}")
        for line in _lines(one, target):
            click.echo(f"  {line}")


def _lines(one: Overtaking, target: int | None) -> list[str]:
    lines = [f"at first {_lead(one.start)}"]
    if target is not None:
        lines.append(f"overtaken first {_lead(one.first)}" if one.first else "never overtaken")
        if one.first:
            again = f"overtaken for good {_lead(one.for_good)}" if one.for_good else "but it leads at the end"
            lines.append(again)
    lines.append(f"at the end {_lead(one.end)}, leading since {si(one.settled.tokens)} tokens")
    return lines


def _lead(lead: Lead) -> str:
    target = "" if lead.target is None else f", the target's {lead.target:.2f}"
    if lead.feature is None:
        return f"at {si(lead.tokens)} tokens nothing fires"
    when = f"at {si(lead.tokens)} tokens (step {lead.step})"
    return f"{when}: {lead.feature} with {lead.activation:.2f}{target}"
