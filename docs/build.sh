#!/usr/bin/env bash
# Builds this site into a folder of static files: docs/build.sh [FOLDER]
# docs/dashboard.sh adds the dashboard of benchmarks, which takes much longer.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

install '.[docs]'
rm -rf docs/gallery  # which may have the pages of examples that are gone
sphinx-build -q -W --keep-going -n -E -d "$work/doctrees" docs "$site"
echo "built: $site/index.html"
