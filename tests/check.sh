#!/bin/sh
# All checks: formatting, lint, strict types and tests. Needs: pip install -e '.[test]'
# The long tests are apart, in tests/slow; they need: pip install -e '.[test-all]'
# Arguments go to pytest: sh tests/check.sh --cov
set -eu
cd "$(dirname "$0")/.."
ruff format --check .
ruff check .
mypy
# a file's tests share what one of its fixtures has trained; the order of collection starts the long
# files first; of tests that pass no files are kept, which would be 13 GB
pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder \
  --override-ini tmp_path_retention_policy=failed "$@"
