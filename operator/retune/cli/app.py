"""The entry point, `kubectl-retune`: kubectl finds it on the PATH and runs it as `kubectl retune`."""

import click

from retune.cli import reading, replaying, writing
from retune.cli.options import connection


class Verbs(click.Group):
    """Commands in the order in which a person meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """As they were added."""
        return list(self.commands)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@connection
@click.version_option(package_name="retune", prog_name="kubectl-retune")
@click.pass_context
def verbs(context: click.Context, /, **given: str | None) -> None:
    """Watch and steer fine-tuned models: FineTuneJobs and their runs.

    JOB names a FineTuneJob and stands for its newest run; JOB N is its run number N; RUN names a run. All is done with
    your own kubeconfig and rights, and what is written is an annotation that `kubectl annotate` could write, too.
    """
    context.obj = given


for _verb in (*reading.VERBS, *writing.VERBS, *replaying.VERBS):
    verbs.add_command(_verb)


def main() -> None:
    """Run the command line, under the name by which kubectl knows it."""
    verbs(prog_name="kubectl retune")
