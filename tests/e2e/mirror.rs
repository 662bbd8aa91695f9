//! The scripts that bring packages for the tests (tests/apt.sh): a mirror that is behind does not stop them, and one
//! that was tampered with does.

use harness::repository;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A repository of one package, whose Release file is signed and has expired.
const REPOSITORY: &str = r#"
mkdir -m 700 mirror apt keys
export GNUPGHOME=$PWD/keys
printf 'Package: expired\nVersion: 1\nArchitecture: all\nMaintainer: M <m@example.org>\nFilename: ./x.deb\nSize: 1\nSHA256: %064d\nDescription: x\n' 0 >mirror/Packages
cat >mirror/Release <<END
Suite: test
Codename: test
Date: Mon, 01 Jan 2024 00:00:00 UTC
Valid-Until: Mon, 08 Jan 2024 00:00:00 UTC
Acquire-By-Hash: no
SHA256:
 $(sha256sum <mirror/Packages | cut -d ' ' -f 1) $(stat -c %s mirror/Packages) Packages
END
gpg --batch --quiet --passphrase '' --quick-gen-key mirror@example.org ed25519 sign never
gpg --batch --quiet --clearsign --output mirror/InRelease mirror/Release
gpg --export >key.gpg
gpgconf --kill all
"#;

/// What the scripts do, with another mirror, and whatever this machine's own apt is told.
const UPDATE: &str = r#"
. "$0"
source="deb [signed-by=$PWD/key.gpg] file:$PWD/mirror ./"
cd apt
private_apt "$source"
echo 'Dir::Etc::parts "/nonexistent";' >>apt.conf
apt-get -q update --error-on=any && apt-cache policy expired
"#;

fn sh(folder: &Path, script: &str) -> Output {
    let script_of_apt = repository().join("tests/apt.sh");
    let mut command = Command::new("sh");
    command.args(["-euc", script]).arg(script_of_apt).current_dir(folder).env("LC_ALL", "C").output().unwrap()
}

#[test]
fn an_expired_mirror_is_good_enough_and_a_wrong_one_is_not() {
    let folder = harness::folder();
    let made = sh(folder.path(), REPOSITORY);
    assert!(made.status.success(), "{made:?}");
    let output = sh(folder.path(), UPDATE);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("Candidate: 1\n"), "{said}");
    let strict = UPDATE.replace("apt-get -q", "sed -i /Check-Valid-Until/d apt.conf; apt-get -q");
    let output = sh(folder.path(), &format!("rm -r apt; mkdir apt; {strict}"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is expired"), "{output:?}");

    fs::write(folder.path().join("mirror/Packages"), "Package: another\n").unwrap();
    let output = sh(folder.path(), &format!("rm -r apt; mkdir apt; {UPDATE}"));
    assert!(!output.status.success(), "{output:?}");
}
