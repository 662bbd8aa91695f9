#!/bin/sh
# Brings a small Debian of its own, of the release that this machine has, into a folder that is kept between
# runs: what the packages are installed into (tests/e2e/packages.rs). It has what they need, and a server
# without its service. Usage: tests/debian.sh FOLDER, as root. It is quick when everything is there. debootstrap
# goes by a mirror's signature and hashes, and never by the date on which its Release file expires.
set -eu

folder=$1
mkdir -p "$folder"
cd "$folder"

exec 9>lock
flock 9
[ ! -d root ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "debian.sh: only root can make a folder that one can change into as if it were the root" >&2
    exit 1
fi

site=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' | grep '/debian/* ' | head -n 1)
if [ -z "$site" ]; then
    echo "debian.sh: this machine's apt knows no mirror of Debian (try apt-get update)" >&2
    exit 1
fi
mirror=${site% *} release=${site#* }

# What the packages depend on, so that installing them needs no network; in their small forms.
needed='libssl3 zlib1g systemd-standalone-sysusers systemd-standalone-tmpfiles'
server='mariadb-server-core mariadb-client-core'
rm -rf root.new
debootstrap --variant=minbase --include="$(echo $needed $server | tr ' ' ,)" "$release" "$PWD/root.new" "$mirror" >log ||
    { tail -n 20 log >&2; exit 1; }
rm -rf root.new/var/cache/apt/archives/*.deb root.new/var/lib/apt/lists/*
mv root.new root
