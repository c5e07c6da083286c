#!/usr/bin/env bash
# Builds this site into a folder of static files: docs/build.sh [FOLDER]
# docs/dashboard.sh adds the dashboard of benchmarks, which takes much longer.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

install '.[docs]'
sphinx-build -q -W --keep-going -n -E -d "$work/doctrees" docs "$site"
echo "built: $site/index.html"
