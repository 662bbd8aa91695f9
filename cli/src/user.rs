//! `rowcall user`: what belongs into the daemon's file of users. It speaks to nobody and writes no file.

use crate::failure::Failure;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, IsTerminal};

/// What bcrypt looks at, in bytes; it would ignore the rest.
const PASSWORD_MAX: usize = 71;

/// Random bytes in a token: nobody tries 2^256.
const TOKEN: usize = 32;

#[derive(Args)]
#[command(after_help = "Example:\n  rowcall user hash")]
pub(crate) struct User {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Ask for a password, or read it from stdin, and print its bcrypt hash
    #[command(after_help = "Examples:\n  rowcall user hash\n  rowcall user hash --cost 12 < password.txt")]
    Hash(Hash),
    /// Make a random token, and what the file of users holds of it
    #[command(after_help = "Example:\n  rowcall user token")]
    Token,
}

#[derive(Args)]
struct Hash {
    /// What checking it costs: each step doubles it. 11 is about a tenth of a second
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(4..=14))]
    cost: u32,
}

impl User {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        match self.command {
            Command::Hash(hash) => {
                let hash = hashed(&password()?, hash.cost)?;
                if json {
                    println!("{}", serde_json::json!({ "hash": hash }));
                } else {
                    println!("{hash}");
                }
            }
            Command::Token => {
                let (token, digest) = token()?;
                if json {
                    println!("{}", serde_json::json!({ "token": token, "digest": digest }));
                } else {
                    println!("for the client, kept nowhere else:  {token}");
                    println!("for the file of users:              token = \"{digest}\"");
                }
            }
        }
        Ok(())
    }
}

/// Twice from a terminal, without showing it; once from anything else.
fn password() -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        read.map_err(|error| Failure::other(format!("cannot read the password from stdin: {error}")))?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let ask = |words: &str| {
        rpassword::prompt_password(words)
            .map_err(|error| Failure::other(format!("cannot read a password from the terminal: {error}")))
    };
    let password = ask("Password: ")?;
    if ask("Once more: ")? == password {
        Ok(password)
    } else {
        Err(Failure::other("the two passwords differ; nothing was made"))
    }
}

fn hashed(password: &str, cost: u32) -> Result<String, Failure> {
    if password.is_empty() {
        return Err(Failure::usage("the password is empty"));
    }
    if password.len() > PASSWORD_MAX {
        return Err(Failure::usage(format!(
            "the password has {} bytes, and bcrypt looks at {PASSWORD_MAX} only",
            password.len()
        )));
    }
    bcrypt::hash(password, cost).map_err(|error| Failure::other(format!("cannot make a hash: {error}")))
}

/// A token, and the digest that is kept of it.
fn token() -> Result<(String, String), Failure> {
    let mut bytes = [0; TOKEN];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::other(format!("the system has no random bytes: {error}")))?;
    let token = URL_SAFE_NO_PAD.encode(bytes);
    let digest = digest(&token);
    Ok((token, digest))
}

fn digest(token: &str) -> String {
    let digits = Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_fit_their_passwords() {
        let hash = hashed("größe", 4).unwrap();
        assert!(bcrypt::verify("größe", &hash).unwrap() && !bcrypt::verify("größ", &hash).unwrap());
        assert!(hashed("", 4).is_err());
        assert!(hashed(&"a".repeat(71), 4).is_ok() && hashed(&"a".repeat(72), 4).is_err());
    }

    #[test]
    fn tokens_are_long_and_new() {
        let (one, other) = (token().unwrap(), token().unwrap());
        assert!(one.0.len() == 43 && one.0 != other.0);
        assert_eq!(digest("test"), "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
    }
}
