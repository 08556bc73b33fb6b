"""What makes a replay impossible: what it was given. Exit code 2, as for any wrong usage."""

from retune.cli.failure import Failure


class UnusableError(Failure):
    """The data or the job cannot be meant like this; says where, what, and what to write instead."""

    exit_code = 2
