#!/bin/sh
# All checks: formatting, lint, strict types and tests. Needs: pip install -e '.[test]'
set -eu
cd "$(dirname "$0")/.."
ruff format --check .
ruff check .
mypy
pytest --numprocesses 2
