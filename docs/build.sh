#!/usr/bin/env bash
# Builds this site and the dashboard of benchmarks into one folder of static files: docs/build.sh [FOLDER]
# COMMITS: what to measure, as git rev-list takes it. BENCHMARKS: which benchmarks, a regular expression.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
site=$(realpath -m "${1:-docs/_build/site}")
commits=${COMMITS:---max-count=2 HEAD}
benchmarks=${BENCHMARKS:-streams}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK=1 NUMBA_CACHE_DIR="$work/kernels"
python3 -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH"
pip install --quiet '.[docs,bench]' virtualenv

sphinx-build -q -W --keep-going -n -E -d "$work/doctrees" docs "$site"

# asv keeps what it knows of a machine in the home folder; results stay in asv_bench/results, and add up.
cd asv_bench
export HOME=$work
asv machine --yes
asv run --show-stderr --skip-existing-successful --bench "$benchmarks" "$commits"
asv publish --html-dir "$site/dashboard"
python ../docs/dashboard_grid.py "$site/dashboard"
if command -v npm > /dev/null; then
    python ../docs/dashboard_scripts.py "$site/dashboard"
else
    echo 'no npm here: the dashboard will load its scripts from the servers of their makers'
fi
echo "built: $site/index.html and $site/dashboard/index.html"
