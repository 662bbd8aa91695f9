//! Whether an account may reach a file: by owner, group and mode of it and of each folder above. Access lists
//! and what confines a process are not looked at here.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// As whom the kernel sees a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// A file or folder, and who may do what with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

/// The right to pass through a folder, and the right to connect to a socket.
const PASS: u32 = 0o1;
const WRITE: u32 = 0o2;

/// The folders that its path leads through, the topmost first; where links lead from there; and the file itself.
pub(crate) fn places(path: &Path) -> io::Result<Vec<Place>> {
    let place = |path: &Path| {
        let found = fs::metadata(path)?;
        Ok(Place { path: path.to_owned(), uid: found.uid(), gid: found.gid(), mode: found.mode() })
    };
    let real = fs::canonicalize(path)?;
    // From below, so that the whole is turned around at the end.
    let mut all: Vec<&Path> = real.ancestors().collect();
    if real != path {
        all.extend(path.ancestors().skip(1));
    }
    let mut places = all.into_iter().map(place).collect::<io::Result<Vec<_>>>()?;
    places.reverse();
    Ok(places)
}

impl Account {
    /// What keeps it from connecting to the socket at the end of these places.
    pub(crate) fn obstacle<'a>(&self, places: &'a [Place]) -> Option<&'a Place> {
        let (socket, folders) = places.split_last()?;
        let folder = folders.iter().find(|folder| !self.may(PASS, folder));
        folder.or_else(|| (!self.may(WRITE, socket)).then_some(socket))
    }

    /// The kernel looks at the first class that applies, and at no other. Root may do everything.
    fn may(&self, right: u32, place: &Place) -> bool {
        let class = if place.uid == self.uid {
            place.mode >> 6
        } else if place.gid == self.gid || self.groups.contains(&place.gid) {
            place.mode >> 3
        } else {
            place.mode
        };
        self.uid == 0 || class & right != 0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { path, uid, gid, mode } = self;
        write!(f, "{} (uid {uid}, gid {gid}, mode {:04o})", path.display(), mode & 0o7777)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str, uid: u32, gid: u32, mode: u32) -> Place {
        Place { path: path.into(), uid, gid, mode }
    }

    fn obstacle(places: &[Place]) -> Option<&str> {
        let account = Account { uid: 100, gid: 200, groups: vec![300] };
        account.obstacle(places).map(|place| place.path.to_str().unwrap())
    }

    #[test]
    fn the_first_class_that_applies_decides() {
        let folder = || place("/run/rowcall", 0, 300, 0o750);
        assert_eq!(obstacle(&[folder(), place("s", 7, 200, 0o660)]), None);
        assert_eq!(obstacle(&[folder(), place("s", 7, 300, 0o660)]), None);
        assert_eq!(obstacle(&[folder(), place("s", 7, 8, 0o660)]), Some("s"));
        assert_eq!(obstacle(&[folder(), place("s", 7, 8, 0o666)]), None);
        assert_eq!(obstacle(&[folder(), place("s", 100, 200, 0o066)]), Some("s"));
        assert_eq!(obstacle(&[folder(), place("s", 7, 200, 0o606)]), Some("s"));
    }

    #[test]
    fn each_folder_must_let_it_pass() {
        let socket = || place("s", 0, 0, 0o666);
        assert_eq!(obstacle(&[place("/", 0, 0, 0o755), place("/a", 0, 0, 0o700), socket()]), Some("/a"));
        assert_eq!(obstacle(&[place("/", 0, 0, 0o755), place("/a", 0, 0, 0o711), socket()]), None);
    }

    #[test]
    fn root_may_everything() {
        let root = Account { uid: 0, gid: 0, groups: Vec::new() };
        assert_eq!(root.obstacle(&[place("/a", 1, 1, 0), place("s", 1, 1, 0)]), None);
    }

    #[test]
    fn the_places_of_a_path_begin_at_the_root() {
        let paths = |path: &str| {
            let places = places(Path::new(path)).unwrap();
            places.iter().map(|place| place.path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(paths("/proc/1"), ["/", "/proc", "/proc/1"]);
        let own = format!("/proc/{}", std::process::id());
        assert_eq!(paths("/proc/self"), ["/", "/proc", "/", "/proc", &own], "and where the link leads");
    }
}
