# An apt of its own in the current folder, for scripts that bring packages and install none here. To be sourced.

# The mirror of Debian that this machine's own apt uses; nothing if it knows none.
mirror_of_debian() {
    apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep '/debian/*$' | head -n 1
}

# Prepares it for these lines of sources.list; $APT_CONFIG names it from then on. Nothing counts as installed, so
# that it brings all that a package needs, the C library included. A mirror that is behind by more than a week has
# an expired Release file, and still the right packages: its signature and all hashes are checked as ever.
private_apt() {
    mkdir -p lists/partial cache/archives/partial
    printf '%s\n' "$@" >sources.list
    : >status
    cat >apt.conf <<END
Dir::State "$PWD"; Dir::State::lists "$PWD/lists"; Dir::State::status "$PWD/status";
Dir::Cache "$PWD/cache"; Dir::Etc::sourcelist "$PWD/sources.list"; Dir::Etc::sourceparts "/nonexistent";
APT::Install-Recommends "false"; Debug::NoLocking "true"; APT::Sandbox::User "";
Acquire::Check-Valid-Until "false";
END
    export APT_CONFIG="$PWD/apt.conf"
}
