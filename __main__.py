"""`python -m rubrika` is the command `rubrika`."""

from rubrika.cli import main

main()
