#!/bin/sh
# newer_pythons.sh FOLDER: what Debian 12 lacks of the newest CPythons, as FOLDER/bin/python3.14 and python3.15, and PyPy
# as FOLDER/bin/pypy3: packages of the next Debian, unpacked, not installed, that find their own libraries. x86-64 only;
# root is needed only for `apt-get install patchelf`. Nothing is done if they are there.
set -eu
suite=forky versions='3.14 3.15'
mkdir -p "$(dirname "$1")"
folder=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
[ -x "$folder/bin/python3.15" ] && [ -x "$folder/bin/python3.14" ] && [ -x "$folder/bin/pypy3" ] && exit 0
[ "$(dpkg --print-architecture)" = amd64 ] || { echo "newer_pythons.sh: for x86-64 only" >&2; exit 1; }
command -v patchelf >/dev/null || apt-get install -y -qq patchelf >/dev/null
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | grep -v security | head -1)
new=$folder.part
rm -rf "$new"
mkdir -p "$new/apt/lists/partial" "$new/apt/archives/partial" "$new/bin"
: > "$new/apt/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$new/apt/sources.list"
apt() {
    apt-get -qq -o "Dir::Etc::sourcelist=$new/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$new/apt/lists" \
        -o "Dir::Cache::archives=$new/apt/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o "Dir::State::status=$new/apt/status" -o Acquire::Languages=none -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
        -o Acquire::Check-Valid-Until=false "$@"
}
apt update
packages='pypy3 pypy3-lib libc6 libexpat1 zlib1g libssl3t64 libffi8 liblzma5 libbz2-1.0 libsqlite3-0 libuuid1 libzstd1 libreadline8t64
    libncursesw6 libtinfo6 libgcc-s1 libdb5.3t64 python3-pip-whl'
for version in $versions; do
    packages="$packages python$version python$version-minimal libpython$version-minimal libpython$version-stdlib python$version-venv"
done
(cd "$new/apt/archives" && apt download $packages)
for package in "$new"/apt/archives/*.deb; do
    dpkg-deb -x "$package" "$new"
done
rm -rf "$new/apt" "$new/usr/share/doc"
for link in lib lib64; do
    [ -e "$new/$link" ] || ln -s "usr/$link" "$new/$link"
done
rm -rf "$folder"
mv "$new" "$folder"
libraries=$folder/usr/lib/x86_64-linux-gnu
for name in $(for version in $versions; do echo "python$version"; done) pypy3; do
    python=$(readlink -f "$folder/usr/bin/$name")
    patchelf --set-interpreter "$libraries/ld-linux-x86-64.so.2" --force-rpath --set-rpath "$libraries" "$python"
    ln -sf "$python" "$folder/bin/$name"
done
for version in $versions; do
    sed -i "s%/usr/share/python-wheels%$folder/usr/share/python-wheels%" "$folder/usr/lib/python$version"/_sysconfigdata_*.py
done
for name in "$folder"/bin/*; do
    "$name" -c 'import ctypes, hashlib, ssl, sqlite3, lzma, bz2, zlib, socket, select, sys; print(sys.executable, sys.version.split()[0])'
done
