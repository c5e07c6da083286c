# Read by build.sh and dashboard.sh, whose argument is the folder of the site: a clean environment with the project and
# the extras that are named, in a folder that is removed at the end.
repository=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
site=$(realpath -m "${1:-$repository/docs/_build/site}")
cd "$repository"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

unset PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK=1 NUMBA_CACHE_DIR="$work/kernels"

install() {
    python3 -m venv "$work/venv"
    export PATH="$work/venv/bin:$PATH"
    pip install --quiet "$@"
}
