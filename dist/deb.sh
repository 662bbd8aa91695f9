#!/bin/sh
# Makes Debian's packages of what was built: rowcall (the daemon and the command) and rowcall-udf (the
# library). What they hold is what `make install` installs; what is theirs alone stands in dist/debian.
# Usage: dist/deb.sh release|debug FOLDER [VERSION]. The same input makes the same bytes. (COMPRESS=gzip is quicker.)
set -eu
umask 022

profile=$1
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
built=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/Cargo.toml" | head -n 1)
version=${3-$built-1}
arch=$(dpkg --print-architecture)
# Nothing in the packages is younger than the last change.
: "${SOURCE_DATE_EPOCH:=$(git -C "$here" log -1 --format=%ct 2>/dev/null || stat -c %Y "$here/CHANGELOG.md")}"
export SOURCE_DATE_EPOCH LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

main=$work/rowcall
udf=$work/rowcall-udf

# What goes into which package: all of it, and then the library elsewhere.
make -s -C "$here" files DESTDIR="$main" PREFIX=/usr PROFILE="$profile"
mkdir -p "$udf/usr/lib" "$udf/usr/share/rowcall"
mv "$main/usr/lib/rowcall" "$udf/usr/lib/rowcall"
mv "$main/usr/share/rowcall/sql" "$udf/usr/share/rowcall/sql"
# Where both servers look for libraries. rowcall-udf.postinst says why it is not in there.
install -d "$udf/usr/lib/mysql/plugin"
gzip -9n "$main/usr/share/man/man1/"*
# The rules are the administrator's to change.
install -D -m 644 "$here/dist/apparmor" "$main/etc/apparmor.d/abstractions/rowcall"

# Symbols are for debuggers. (The library keeps those that the server looks up.)
strip --strip-unneeded "$main/usr/bin/rowcall" "$main/usr/bin/rowcalld" "$main/usr/libexec/rowcall/plugin/"*.so "$udf/usr/lib/rowcall/"*.so

# What the programs need of which packages, in dpkg's own words.
depends() {
    mkdir -p "$work/debian"
    echo 'Source: rowcall' >"$work/debian/control"
    (cd "$work" && dpkg-shlibdeps -O "$@" 2>/dev/null) | sed -n 's/^shlibs:Depends=//p'
}

pack() {
    folder=$1 name=$(basename "$1") depends=$2
    doc=$folder/usr/share/doc/$name
    install -D -m 644 "$here/dist/debian/copyright" "$doc/copyright"
    gzip -9nc "$here/CHANGELOG.md" >"$doc/changelog.gz"
    sed "s/@VERSION@/$version/; s/@DATE@/$(date -u -R -d "@$SOURCE_DATE_EPOCH")/" "$here/dist/debian/changelog" |
        gzip -9n >"$doc/changelog.Debian.gz"
    install -d "$folder/DEBIAN"
    (cd "$folder" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) \
        >"$folder/DEBIAN/md5sums"
    if [ -d "$folder/etc" ]; then
        (cd "$folder" && find etc -type f -printf '/%p\n' | sort) >"$folder/DEBIAN/conffiles"
    fi
    for script in preinst postinst prerm postrm; do
        [ -e "$here/dist/debian/$name.$script" ] || continue
        sed "s/@VERSION@/$version/" "$here/dist/debian/$name.$script" >"$folder/DEBIAN/$script"
        chmod 755 "$folder/DEBIAN/$script"
    done
    size=$(du -sk --apparent-size --exclude=DEBIAN "$folder" | cut -f 1)
    sed "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@SIZE@/$size/; s/@DEPENDS@/$depends/" \
        "$here/dist/debian/$name.control" >"$folder/DEBIAN/control"
    # Times that differ from build to build would differ in the package.
    find "$folder" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group -Z"${COMPRESS-xz}" --build "$folder" "$out/${name}_${version}_$arch.deb"
}

# All compute first: a failure within a command's arguments would go unnoticed.
of_programs=$(depends "$main/usr/bin/rowcall" "$main/usr/bin/rowcalld" "$main/usr/libexec/rowcall/plugin/"*.so)
of_library=$(depends "$udf/usr/lib/rowcall/"*.so)
[ -n "$of_programs" ] && [ -n "$of_library" ]
pack "$main" "$of_programs"
pack "$udf" "$of_library"
