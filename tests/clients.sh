#!/bin/sh
# Brings the official NATS clients for the tests from their registries (PyPI, npm) into a folder that is
# kept between runs; those for C and Go are Debian's (tests/packages.sh). Usage: tests/clients.sh FOLDER. It is quick when everything is there. What cannot be had
# does not keep the others from coming; it fails in the end.
set -u

sources=$(cd "$(dirname "$0")/clients" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)

# Several runs may want the same at the same time.
exec 9>"$folder/lock"
flock 9

# The list of what is wanted is put beside what was brought, last: it tells that all is there.
python() {
    cmp -s "$sources/requirements.txt" "$folder/python/requirements.txt" && return
    rm -rf "$folder/python"
    python3 -m venv "$folder/python" &&
        "$folder/python/bin/pip" --quiet --disable-pip-version-check install -r "$sources/requirements.txt" &&
        cp "$sources/requirements.txt" "$folder/python/"
}

# The lock file names what each package must hash to, and no registry.
node() {
    cmp -s "$sources/package-lock.json" "$folder/node/package-lock.json" && return
    rm -rf "$folder/node" "$folder/node.new"
    mkdir "$folder/node.new" &&
        cp "$sources/package.json" "$sources/package-lock.json" "$folder/node.new/" &&
        (cd "$folder/node.new" && npm ci --silent --no-audit --no-fund --ignore-scripts) &&
        mv "$folder/node.new" "$folder/node"
}

failed=
for client in python node; do
    $client || failed="$failed $client"
done
[ -z "$failed" ] || { echo "clients.sh: these cannot be had:$failed" >&2; exit 1; }
