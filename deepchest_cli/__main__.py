"""`python -m deepchest_cli`, the form that `torchrun` and virtual environments need."""

from deepchest_cli.app import main

main()
