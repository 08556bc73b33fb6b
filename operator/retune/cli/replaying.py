"""The verb `replay`: what a job's stop-loss would have done with data of the past."""

import contextlib
from typing import TYPE_CHECKING

import click

from retune.cli.options import KEYS, connection

if TYPE_CHECKING:
    from retune.api.rollout import Rollout, StopLoss
    from retune.cli.replay.trace import Trace


@click.command()
@click.argument("job", metavar="[JOB]", required=False)
@click.option("--job", "file", metavar="FILE", help="Rollout of the FineTuneJob in this file; no cluster is asked.")
@click.option("--csv", "table", metavar="FILE", help="Cumulative counters: time,metric,arm,bad,total[,step][,bucket].")
@click.option("--prometheus", "url", metavar="URL", help="Ask this Prometheus for the counters, instead of --csv.")
@click.option("--from", "begin", metavar="TIME", help="Where to begin: RFC 3339, or how long ago, such as 6h.")
@click.option("--to", "end", metavar="TIME", help="Where to end; now if absent.")
@click.option("--every", metavar="DURATION", default="15s", show_default=True, help="How far apart polls are.")
@click.option("-o", "--output", type=click.Choice(["json"]), help="json: an object for each poll, and one for the end.")
@connection
@click.pass_context
def replay(  # noqa: PLR0917 - click gives them by name
    context: click.Context,
    /,
    job: str | None,
    file: str | None,
    table: str | None,
    url: str | None,
    begin: str | None,
    end: str | None,
    every: str,
    output: str | None,
    **given: str | None,
) -> None:
    """Run a stop-loss over past data.

    Shows what the rollout of JOB would have done. The evidence is judged by the same code as in the operator, and
    nothing is changed anywhere.
    """
    from retune.cli.replay.drive import drive
    from retune.cli.replay.page import as_json, as_table
    from retune.cli.replay.reading import RUN
    from retune.cli.replay.wanted import from_file, stop_losses
    from retune.decide.rollout.stages import stages

    if bool(table) == bool(url):
        raise click.UsageError("name one source of counters: --csv FILE, or --prometheus URL with --from")
    if url and not begin:
        raise click.UsageError("--prometheus needs --from, such as --from 6h")
    if table and (begin or end):
        raise click.UsageError("--from and --to belong to --prometheus; a CSV file is taken whole")
    if not (job or file):
        raise click.UsageError("name a JOB in the cluster, or --job FILE")
    rollout, model = from_file(file) if file else _in_cluster(context, job or "", given)
    losses = stop_losses(rollout)
    if table:
        from retune.cli.replay.table import read_table

        trace = read_table(table, [loss.name for loss in losses], [stage.name for stage in stages(rollout, RUN)])
    else:
        from retune.cli.replay.prometheus import read_prometheus, window

        trace = read_prometheus(str(url), losses, model, window(str(begin), end, every))
    watched = _watched(losses, trace)
    found = drive(trace, rollout, watched)
    lines = as_json(found) if output else as_table(found, [loss.name for loss in watched])
    _hints(rollout, losses, watched, trace)
    with contextlib.suppress(KeyboardInterrupt):
        for line in lines:
            click.echo(line)


VERBS = (replay,)


def _in_cluster(context: click.Context, job: str, given: dict[str, str | None]) -> "tuple[Rollout, str]":
    """The job's rollout, and the public name of its model."""
    from retune.cli.find import find_job
    from retune.cli.objects import part
    from retune.cli.replay.wanted import from_spec, public_name
    from retune.cli.server import connect

    before: dict[str, str | None] = context.obj or {}
    chosen = {key: given.get(key) or before.get(key) for key in KEYS}
    found = find_job(connect(chosen["kubeconfig"], chosen["context"], chosen["namespace"]), job)
    return from_spec(part(found, "spec"), f"job {job}"), public_name(found)


def _watched(losses: "tuple[StopLoss, ...]", trace: "Trace") -> "tuple[StopLoss, ...]":
    return tuple(loss for loss in losses if loss.name in trace.metrics)


def _hints(rollout: "Rollout", losses: "tuple[StopLoss, ...]", watched: "tuple[StopLoss, ...]", trace: "Trace") -> None:
    """What the reader should know of how this differs from what the operator would do, on stderr."""
    absent = [loss.name for loss in losses if loss not in watched]
    if absent:
        click.echo(f"not in the data, so left out: {', '.join(absent)}", err=True)
    if not trace.buckets:
        click.echo(
            "the data have no buckets, so how far users differ cannot be measured: judged as a stop-loss with queries "
            "of its own is",
            err=True,
        )
    if rollout.manual_approval:
        click.echo("rollout.manualApproval is taken as given", err=True)
