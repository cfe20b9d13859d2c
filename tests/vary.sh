#!/bin/sh
# The numeric tests once more with other arithmetic and in another order: older vector instructions,
# two threads, shuffled tests. What passes on one processor only, or after one test only, fails here.
# With all that this processor has and one thread, in order, tests/check.sh runs them.
# Needs: pip install -e '.[test]'. An order is repeated with: tests/vary.sh SEED
# With `tests/vary.sh SEED all` the slower ones run as well.
set -eu
cd "$(dirname "$0")/.."
seed="${1:-$(date +%s)}"
echo "Order of the tests: tests/vary.sh $seed"

tests="tests/weighting tests/training/test_losses.py"
tests="$tests tests/training/test_optimization.py tests/training/test_precision.py"
slower="tests/evaluation tests/model tests/training/test_step.py"
slower="$slower tests/training/test_backward.py"
if [ "${2:-}" = all ]; then tests="$tests $slower"; fi

vary() {
  processes="$1"
  shift
  echo "With $*:"
  # shellcheck disable=SC2086 - several paths
  env "$@" pytest --numprocesses "$processes" --dist loadfile \
    --random-order-bucket=global --random-order-seed="$seed" $tests
}

vary 2 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41
if [ "$(uname -m)" = x86_64 ]; then
  vary 2 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
    OPENBLAS_CORETYPE=Haswell
fi
# one process: threads of two would wait for each other
vary 0 DEEPCHEST_TEST_THREADS=2 OMP_NUM_THREADS=2
