//! The daemon's socket as the server sees it: whether it is there, the same for both, and open to its account.

use super::access::places;
use super::finding::{Finding, Trouble};
use super::functions::AS_ROOT;
use super::patient::Patient;
use super::process::Process;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Where the functions look for it unless the server's environment says otherwise.
const SOCKET_DEFAULT: &str = "/run/rowcall/rowcall.sock";

/// What the functions ask for; the kernel gives at most `net.core.wmem_max`.
const SEND_BUFFER: u64 = 4 << 20;

const ELSEWHERE: &str = "Is it another path for both (ROWCALL_SOCKET in the server's environment, --socket of \
                         rowcalld)?";

pub(super) fn check(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    let path = patient.status().and_then(|status| Some(PathBuf::from(status["socket"].as_str()?)));
    let path = path.unwrap_or_else(|| SOCKET_DEFAULT.into());
    let process = patient.process()?;
    Ok(vec![examine(process, &path)?])
}

fn examine(process: &Process, path: &Path) -> Result<Finding, Trouble> {
    let name = path.display();
    let here = match fs::metadata(path) {
        Ok(here) => here,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let advice = format!("Is rowcalld running (systemctl status rowcalld)? {ELSEWHERE}");
            return Ok(Finding::fault(format!("{name} is not there."), advice));
        }
        Err(error) => return Err(Trouble::Other(format!("{name}: {error}; run this as root"))),
    };
    if !here.file_type().is_socket() {
        return Ok(Finding::fault(format!("{name} is no socket."), ELSEWHERE));
    }
    let Some(seen) = process.sees(path) else {
        let found = format!("not looked at: {name}, in the server's file system");
        return Ok(Finding::unseen(found, AS_ROOT));
    };
    if let Some(hidden) = hidden(&seen, path, &here) {
        return Ok(hidden);
    }
    if let Some(closed) = closed(process, path)? {
        return Ok(closed);
    }
    match UnixStream::connect(path) {
        Ok(_) => Ok(Finding::ok(format!("{name} is there and open to the server's account"))),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(Finding::fault(
            format!("{name} is there, and nobody listens on it: the daemon was killed."),
            "Start it; it takes the file's place.",
        )),
        Err(error) => Err(Trouble::Other(format!("{name}: {error}; run this as root"))),
    }
}

/// The server may have another view of the file system.
fn hidden(seen: &Path, path: &Path, here: &fs::Metadata) -> Option<Finding> {
    let same = fs::metadata(seen).is_ok_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino()));
    let found = format!("the server does not see this {}: it has a file system of its own.", path.display());
    (!same).then(|| {
        Finding::fault(
            found,
            "In /tmp or /var/tmp that is PrivateTmp= of its unit: put the socket into /run. In a container: mount the \
             socket's folder into it.",
        )
    })
}

fn closed(process: &Process, path: &Path) -> Result<Option<Finding>, Trouble> {
    let places = places(path)
        .map_err(|error| Trouble::Other(format!("{}: {error}; run this as root", path.display())))?;
    Ok(process.account().obstacle(&places).map(|place| {
        Finding::fault(
            format!("the server's account may not use the socket, because of {place}."),
            "Its group must be the server's: SocketGroup= in rowcalld.socket, or socket_group in the daemon's configuration.",
        )
    }))
}

/// How large a burst fits a thread's connection.
pub(super) fn send_buffer(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    const FILE: &str = "/proc/sys/net/core/wmem_max";
    if !patient.is_local {
        return Err(Trouble::Other(format!("{FILE} of the server's machine")));
    }
    let text = fs::read_to_string(FILE).map_err(|error| Trouble::Other(format!("{FILE}: {error}")))?;
    let bytes = text.trim().parse().map_err(|_| Trouble::Other(format!("{FILE} holds no number")))?;
    Ok(vec![buffer(bytes)])
}

fn buffer(bytes: u64) -> Finding {
    if bytes >= SEND_BUFFER {
        return Finding::ok(format!("net.core.wmem_max is {bytes}"));
    }
    Finding::note(
        format!(
            "net.core.wmem_max is {bytes}: of a burst, so much fits the socket of a server's thread; with {SEND_BUFFER} \
             it would be up to 10,900 small events"
        ),
        format!("sysctl -w net.core.wmem_max={SEND_BUFFER}, and in /etc/sysctl.d"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_small_buffer_is_noted() {
        assert_eq!(buffer(212_992).level, Level::Note);
        assert_eq!(buffer(SEND_BUFFER).level, Level::Ok);
    }
}
