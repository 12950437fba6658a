"""Parts of the command line: options that commands share, and the commands that `cli.py` only registers."""
