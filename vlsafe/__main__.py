"""``python -m vlsafe``: the command ``vlsafe``."""

from vlsafe_agents.cli.main import main

main()
