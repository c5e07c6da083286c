#!/usr/bin/env bash
# Measures commits and adds the dashboard of benchmarks to the site that build.sh has made: docs/dashboard.sh [FOLDER]
# COMMITS: which commits, as git rev-list takes them. STEPS: how many of those, evenly spread.
# BENCHMARKS: which benchmarks, a regular expression for their names with their parameters.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
commits=${COMMITS:---max-count=200 HEAD}
steps=${STEPS:-12}
# Every benchmark of ours, of those with a shape those of a few: one step, one sequence, a batch, a batch in training.
few='streams|start|Activations|Quantizing|vad_step|awd_b1|crnn_b16|tagger_b32'
benchmarks=${BENCHMARKS:-"^(?!benchmarks\.peers).*($few)"}

if [[ ! -f $site/dashboard.html ]]; then
    echo "there is no site in $site: docs/build.sh makes it" >&2
    exit 2
fi
install '.[bench]' virtualenv

# asv keeps what it knows of a machine in the home folder; results stay in asv_bench/results, and add up.
cd asv_bench
export HOME=$work
asv machine --yes
asv run --show-stderr --skip-existing-successful --steps "$steps" --bench "$benchmarks" "$commits"
asv publish --html-dir "$site/dashboard"
python ../docs/dashboard_grid.py "$site/dashboard"
python ../docs/dashboard_page.py "$site"
if command -v npm > /dev/null; then
    python ../docs/dashboard_scripts.py "$site/dashboard"
else
    echo 'no npm here: the dashboard will load its scripts from the servers of their makers'
fi
echo "built: $site/dashboard.html and $site/dashboard/index.html"
