#!/bin/sh
# fetch_pythons.sh FOLDER VERSION...: Pythons that this Debian lacks, as FOLDER/*/usr/bin/python2.7, python3.15, pypy3 and so
# on: packages of other Debians and Ubuntus, unpacked, not installed, with the libraries that they need. x86-64 only; root only
# for what it installs: patchelf and Ubuntu's keys. What is there already is left alone.
set -eu
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
[ "$(dpkg --print-architecture)" = amd64 ] || { echo "fetch_pythons.sh: for x86-64 only" >&2; exit 1; }
keys=/usr/share/keyrings/debian-archive-keyring.gpg
ubuntu=${DISPYNODE_TEST_UBUNTU:-}        # the address of a mirror of Ubuntu; without it what only Ubuntu has is left out, and named
debian=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | grep -v security | head -1)

apt() {
    apt-get -qq -y -o "Dir::Etc::sourcelist=$new/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$new/apt/lists" \
        -o "Dir::Cache::archives=$new/apt/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o "Dir::State=$new/apt" \
        -o "Dir::State::status=$new/apt/status" -o Acquire::Languages=none -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
        -o Acquire::Check-Valid-Until=false -o Dpkg::Use-Pty=0 "$@"
}

sources() {     # NAME KEYRING MIRROR SUITES COMPONENTS: have apt() look there; what it fetches goes to $new
    new=$folder/$1.part
    rm -rf "$new"
    mkdir -p "$new/apt/lists/partial" "$new/apt/archives/partial"
    : > "$new/apt/status"
    for part in $4; do
        echo "deb [signed-by=$2] $3 $part $5"
    done > "$new/apt/sources.list"
    apt update
}

unpack() {      # NAME: what apt() has fetched, to $folder/NAME
    for package in "$new"/apt/archives/*.deb; do
        dpkg-deb -x "$package" "$new"
    done
    rm -rf "$new/apt" "$new/usr/share/doc" "${folder:?}/$1"
    mv "$new" "$folder/$1"
}

ubuntu_keys() { # fetch the keys of Ubuntu, signed by Debian
    [ -e "$folder/keys" ] && return
    sources keys "$keys" "$debian" trixie main && (cd "$new/apt/archives" && apt download ubuntu-keyring) && unpack keys
}

fetch() {       # SUITE COMPONENTS KEYRING NAME...: where python2.7, python3.6, pypy3 and so on are to come from
    suite=$1 components=$2 keyring=$3
    shift 3
    [ "$keyring$ubuntu" != ubuntu ] || { echo 'no mirror of Ubuntu is named by DISPYNODE_TEST_UBUNTU' >&2; return 1; }
    command -v patchelf >/dev/null || apt-get install -y -qq patchelf >/dev/null
    if [ "$keyring" = debian ]; then
        sources "$suite" "$keys" "$debian" "$suite" "$components" || return 1
    else
        ubuntu_keys || return 1
        sources "$suite" "$folder/keys/usr/share/keyrings/ubuntu-archive-keyring.gpg" "$ubuntu" "$suite $suite-updates" "$components" || return 1
    fi
    packages=
    for name in "$@"; do
        packages="$packages $name"
        case $name in python3*) packages="$packages $name-venv" ;; esac
        case $name in python3.[6-9]) packages="$packages python3-distutils" ;; esac
        # dispy keeps what it recovers in a file of dbm: only gdbm writes it before the program ends
        [ "$keyring" = debian ] || packages="$packages python3-gdbm"
    done
    apt install --download-only --no-install-recommends $packages >/dev/null || return 1
    unpack "$suite"
    root=$folder/$suite
    libraries=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu
    for name in "$@"; do
        python=$(readlink -f "$root/usr/bin/$name")
        loader=$(find "$root/lib/" "$root/usr/lib/" -name 'ld-linux-x86-64.so.2' 2>/dev/null | head -1)
        patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$python"
        for path in "$root/usr/lib/$name"/_sysconfigdata*.py "$root/usr/lib/$name/ensurepip/__init__.py"; do
            [ ! -f "$path" ] || sed -i "s%/usr/share/python-wheels%$root/usr/share/python-wheels%" "$path"
        done
        "$python" -c 'import ctypes, hashlib, ssl, sqlite3, zlib, bz2, socket, select, sys; print(sys.executable + " " + sys.version.split()[0])' || return 1
    done
}

wanted_of() {   # NAME...: those that are wanted
    for name in "$@"; do
        case " $wanted " in *" ${name#python} "*) echo "$name" ;; esac
    done
}

are_there() {   # SUITE NAME...
    for name in $2; do
        [ -x "$folder/$1/usr/bin/$name" ] || return 1
    done
}

wanted=$*
while read -r suite components keyring names; do
    names=$(wanted_of $names)
    if ! are_there "$suite" "$names" && ! fetch "$suite" "$(echo "$components" | tr , ' ')" "$keyring" $names < /dev/null; then
        rm -rf "${folder:?}/$suite" "$folder/$suite.part"
        echo "cannot be fetched from $suite:" $names >&2
    fi
done <<TABLE
bullseye main debian python2.7 python3.9
bionic main,universe ubuntu python3.6 python3.7 python3.8
jammy main,universe ubuntu python3.10
bookworm main debian python3.11
noble main,universe ubuntu python3.12
trixie main debian python3.13
forky main debian python3.14 python3.15 pypy3
TABLE
