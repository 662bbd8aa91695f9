//! What somebody would write on every command line: which daemon, which database server, and as whom, by name, in
//! ~/.config/rowcall/config.toml. Flags and the environment outrank it; where it is asked stands with them.

use crate::failure::Failure;
use once_cell::sync::OnceCell;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The one that holds when nobody names another.
    context: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

/// One place to work with. Every path is absolute once it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Where the daemon is.
    pub(crate) server: Option<String>,
    /// And its HTTP port, as a URL.
    pub(crate) http: Option<String>,
    /// As whom to speak to it.
    pub(crate) user: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) tls_ca: Option<PathBuf>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    #[serde(default)]
    pub(crate) tls_first: bool,
    #[serde(default)]
    pub(crate) database: Database,
}

/// The database server. Its password stands in an option file, as its own clients have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Database {
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) socket: Option<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) defaults_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) ssl: bool,
    pub(crate) ssl_ca: Option<PathBuf>,
}

static CURRENT: OnceCell<Context> = OnceCell::new();

/// The one that was chosen; an empty one without.
pub(crate) fn current() -> &'static Context {
    CURRENT.get_or_init(Context::default)
}

/// Chooses it for this run: the one that is named, or the file's own choice.
pub(crate) fn choose(name: Option<&str>) -> Result<(), Failure> {
    let Some(path) = path() else { return Ok(()) };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && name.is_none() => return Ok(()),
        Err(error) => return Err(Failure::usage(format!("{}: {error}", path.display()))),
    };
    let context = read(&text, name, path.parent().unwrap_or(Path::new("/")))
        .map_err(|why| Failure::usage(format!("{}: {why}", path.display())))?;
    // Chosen once, before anybody asks.
    let _ = CURRENT.set(context);
    Ok(())
}

/// Where the file is: in the folder that is set for such files, or in that of most people.
fn path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    Some(folder?.join("rowcall/config.toml"))
}

/// The context of this name out of the file's text; relative paths begin in the file's folder.
fn read(text: &str, name: Option<&str>, folder: &Path) -> Result<Context, String> {
    let mut config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
    let Some(name) = name.map(str::to_owned).or(config.context) else { return Ok(Context::default()) };
    let Some(context) = config.contexts.remove(&name) else {
        let there: Vec<String> = config.contexts.into_keys().collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        return Err(format!("there is no context \"{name}\" in it; there is: {there}"));
    };
    Ok(context.absolute(folder))
}

impl Context {
    fn absolute(mut self, folder: &Path) -> Context {
        let database = &mut self.database;
        let paths = [
            &mut self.password_file,
            &mut self.token_file,
            &mut self.tls_ca,
            &mut self.tls_cert,
            &mut self.tls_key,
            &mut database.socket,
            &mut database.defaults_file,
            &mut database.ssl_ca,
        ];
        for path in paths.into_iter().flatten() {
            *path = match path.strip_prefix("~") {
                Ok(rest) => std::env::home_dir().unwrap_or_default().join(rest),
                Err(_) => folder.join(&*path),
            };
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "context = 'here'\n[contexts.here]\nserver = 'unix:/run/x.sock'\n\
                        [contexts.prod]\nserver = 'tls://db1'\nuser = 'ada'\npassword_file = 'secret'\n\
                        tls_ca = '/etc/ca.pem'\n[contexts.prod.database]\nhost = 'db1'\nport = 3307\n";

    fn read_here(text: &str, name: Option<&str>) -> Result<Context, String> {
        read(text, name, Path::new("/home/ada/.config/rowcall"))
    }

    #[test]
    fn the_named_one_is_taken_or_the_file_s_own_choice() {
        let here = read_here(TEXT, None).unwrap();
        assert_eq!(here.server.as_deref(), Some("unix:/run/x.sock"));
        let prod = read_here(TEXT, Some("prod")).unwrap();
        assert_eq!((prod.user.as_deref(), prod.database.port), (Some("ada"), Some(3307)));
        assert_eq!(prod.password_file.unwrap().to_str(), Some("/home/ada/.config/rowcall/secret"));
        assert_eq!(prod.tls_ca.unwrap().to_str(), Some("/etc/ca.pem"));
        assert_eq!(read_here("", None), Ok(Context::default()));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let error = read_here(TEXT, Some("prd")).unwrap_err();
        assert!(error.contains("\"prd\"") && error.contains("here, prod"), "{error}");
        let error = read_here("[contexts.a]\nserver = 'x'\npasword_file = 'y'\n", None).unwrap_err();
        assert!(error.contains("line 3") && error.contains("pasword_file"), "{error}");
        // A secret has no place in it.
        assert!(read_here("[contexts.a]\npassword = 'x'\n", None).is_err());
    }
}
