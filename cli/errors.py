"""What ends a command: one line (or one a setting) on standard error, exit code 2, no traceback."""


class CliError(Exception):
    """The message says what is wrong and what to do."""
