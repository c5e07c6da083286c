# Read by on_aarch64 and on_pythons: a small Debian in a folder, with a Python and the packages that the tests need.
#
# Its programs run in a namespace of their own, and see that folder as all there is, with the project in it, which they
# cannot change.  Nobody has to be root for that, and the system stays as it is.
#
# A function that cannot do its work here says why and returns 77.

impossible() {
    echo "impossible here: $*" >&2
    return 77
}

# What the package and its tests ask for, "numba>=0.62", one a line.
requirements() {
    sed -n '/^dependencies = /,/^]/p; /^test = /p' pyproject.toml | grep -oE '[a-z]+>=[0-9.]+'
}

# make_debian ROOT ARCHITECTURE SUITE PYTHON: once, and the newest packages each time.
make_debian() {
    local root=$1 architecture=$2 suite=$3 python=$4 link
    if [[ ! -e $root/complete ]]; then
        command -v mmdebstrap > /dev/null || { impossible 'install mmdebstrap'; return; }
        echo "making $root"
        rm -rf "$root"
        mkdir -p "$(dirname "$root")"
        # The mirror may be older than its list of packages says it lasts; that is signed all the same.
        mmdebstrap --quiet --variant=extract --architectures="$architecture" \
            --aptopt='Acquire::Check-Valid-Until "false"' \
            --include="$python,libgomp1,libstdc++6,dash,coreutils" "$suite" "$root" ||
            { impossible "Debian's $suite has no $python for $architecture, or cannot be reached"; return; }
        mkdir -p "$root"/{proc,sys,dev,tmp,project,kernels,bytecode}
        # Newer Debians have them in a package of its own.
        for link in bin lib lib64; do [[ -e $root/$link ]] || ln -s "usr/$link" "$root/$link"; done
        touch "$root/complete"
    fi
    packages_for "$root" "$architecture" "$python"
}

# Download and unpack them from here, since nothing in it can; pip looks only in the first step at the other Python.
packages_for() {
    local root=$1 place glibc machine=x86_64
    place=$(packages_of "$root" "$3")
    [[ $2 == arm64 ]] && machine=aarch64
    local target=(--only-binary=:all: --implementation cp --python-version "${3#python}")
    for glibc in 2014 _2_17 _2_27 _2_28; do target+=(--platform "manylinux${glibc}_$machine"); done
    rm -rf "$root/wheels" "$place"
    requirements | pip_quietly download "${target[@]}" --dest "$root/wheels" --requirement /dev/stdin
    pip_quietly install "${target[@]}" --no-deps --ignore-requires-python --no-compile --target "$place" \
        "$root"/wheels/*
}

# packages_of ROOT PYTHON: where that Python looks for packages which are not Debian's.
packages_of() {
    echo "$1/usr/local/lib/$2/dist-packages"
}

pip_quietly() {
    PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip "$@" --quiet
}

# In a namespace a list of emulators can be had that no other program sees.
namespace=(unshare --user --map-root-user --mount --pid --fork --kill-child)
emulators=/proc/sys/fs/binfmt_misc

namespaces_have_emulators() {
    "${namespace[@]}" mount -t binfmt_misc none "$emulators" 2> /dev/null
}

# in_debian ROOT EMULATOR COMMAND...: the emulator is that of AArch64, or empty.
in_debian() {
    "${namespace[@]}" bash -c "$inside" bash "$emulators" "$@"
}

inside='
set -euo pipefail
emulators=$1 root=$2 emulator=$3
shift 3
if [[ $emulator ]]; then
    mount -t binfmt_misc none "$emulators"
    # ELF, 64 bits, little-endian, a program or a library, for machine 183, which is AArch64.
    printf "%s" ":aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:" \
        "\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:$emulator:F" \
        > "$emulators/register"
fi
mount --bind "$PWD" "$root/project"
mount -o remount,bind,ro "$root/project"
mount -t tmpfs none "$root/tmp"
for folder in proc sys dev; do mount --rbind "/$folder" "$root/$folder"; done
exec chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/tmp LC_ALL=C.UTF-8 \
    PYTHONPYCACHEPREFIX=/bytecode NUMBA_CACHE_DIR=/kernels NUMBA_LSTM_TESTS="${NUMBA_LSTM_TESTS:-default}" \
    /bin/sh -c "cd /project && exec \"\$@\"" sh "$@"
'
