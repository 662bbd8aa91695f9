#!/bin/sh
# Installs from Debian's packages what is missing for building, for the demo, the tests or the
# benchmarks. Usage: tests/packages.sh build|deb|demo|test|fuzz|bench
# It touches nothing when all is there, uses sudo only when not root, and makes no database service:
# MariaDB's packages are the "core" ones, which hold the programs alone. (Only PostgreSQL, for the
# benchmarks, has none such.)
set -eu

build='gcc libc6-dev make pkg-config libmariadb-dev'
# dpkg-dev tells which packages a program needs.
deb="$build dpkg-dev"
demo="$build mariadb-server-core mariadb-client-core"
# MySQL's own packages come by tests/servers.sh, which unpacks them instead of installing them.
# Official clients, and what tests/clients.sh needs to bring others.
clients='libnats-dev golang-go golang-github-nats-io-go-nats-dev python3-venv'
# debootstrap brings a Debian to install our own packages in.
# mariadb-client has mariadb-dump, for what docs/operations.md says of backups.
# gpg signs a mirror that has expired.
# percona-toolkit has pt-online-schema-change, which speaks through one of Perl's drivers.
test="$demo mariadb-client percona-toolkit libdbd-mysql-perl dpkg-dev debootstrap gpg nats-server sysbench curl php-cli chromium debian-archive-keyring ca-certificates g++ $clients"
# libFuzzer is C++.
fuzz="$build g++"
bench="$demo nats-server postgresql"

case ${1-} in
    build) wanted=$build ;;
    deb) wanted=$deb ;;
    demo) wanted=$demo ;;
    test) wanted=$test ;;
    fuzz) wanted=$fuzz ;;
    bench) wanted=$bench ;;
    *) echo "usage: tests/packages.sh build|deb|demo|test|fuzz|bench" >&2; exit 2 ;;
esac

if ! command -v apt-get >/dev/null; then
    echo "packages.sh: this is no Debian; install the equivalents of these yourself: $wanted" >&2
    exit 0
fi

# Node.js and npm may have come by another way.
if [ "$1" = test ]; then
    command -v node >/dev/null || wanted="$wanted nodejs"
    command -v npm >/dev/null || wanted="$wanted npm"
fi

missing=
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=absent
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "installing from Debian's packages:$missing"
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
$as_root apt-get -q update
# shellcheck disable=SC2086 # words are meant to be split
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $missing
