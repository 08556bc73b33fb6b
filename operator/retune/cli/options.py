"""The options that all commands share, as kubectl has them, and the connection that they stand for."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
KEYS = ("namespace", "context", "kubeconfig")


def connection(command: F) -> F:
    """Add -n, --context and --kubeconfig."""
    options = (
        click.option("-n", "--namespace", metavar="NAME", help="Namespace; the context's own if absent."),
        click.option("--context", metavar="NAME", help="Context of the kubeconfig; the current one if absent."),
        click.option("--kubeconfig", metavar="FILE", type=click.Path(), help="Kubeconfig; as kubectl if absent."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Add the connection's options, and give the command a `Server` in their place."""

    @connection
    @click.pass_context
    @functools.wraps(command)
    def run(context: click.Context, /, **given: Any) -> None:  # noqa: ANN401 - click's own values
        from retune.cli.server import connect

        before: dict[str, str | None] = context.obj or {}  # kubectl takes them before the verb, too
        chosen = {key: given.pop(key) or before.get(key) for key in KEYS}
        command(connect(chosen["kubeconfig"], chosen["context"], chosen["namespace"]), **given)

    return run


as_json = click.option("-o", "--output", type=click.Choice(["json"]), help="json: the objects behind the view.")
named = click.argument("name", metavar="JOB|RUN")
numbered = click.argument("count", metavar="[N]", type=click.IntRange(min=1), required=False)
reason = click.option("--reason", metavar="TEXT", help="Why; your name if absent.")
