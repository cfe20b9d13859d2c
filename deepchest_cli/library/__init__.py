"""The commands as functions, for programs and notebooks; `deepchest_cli` has them by name."""
