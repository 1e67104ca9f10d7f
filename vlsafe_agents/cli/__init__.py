"""The command ``vlsafe``: one file for each subcommand.  Heavy imports wait until one runs."""
