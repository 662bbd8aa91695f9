//! The file that says who may come in and what they may do. What is wrong with it is said with its line,
//! but never with the line's text: that may hold a secret.

use super::permissions::{Entry, Responses, Rights, Subscribe};
use super::{Access, Proof, User};
use crate::config::Span;
use nix::unistd::User as Account;
use rowcall_wire::rule::Rule;
use rowcall_wire::subject;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use toml::Spanned;

/// What a token's digest begins with.
const DIGEST: &str = "sha256:";

/// The greatest cost of a bcrypt hash: about a second of a processor for each login. `auth_timeout` is
/// two.
const COST_MAX: u32 = 14;

/// How long a request may be answered, unless the file says otherwise. The reference's default.
const RESPONSE_TTL: Duration = Duration::from_secs(120);

/// The longest filter, in bytes.
const FILTER_MAX: usize = 255;

/// How long the line may be that tells SQL's rule to the library; the greeting that holds it must fit
/// into a control line of its.
const SQL_RULE_MAX: usize = 8 << 10;

/// The account of the database server, which may connect unless the file says otherwise.
const SERVER_ACCOUNT: &str = "mysql";

impl Default for Access {
    fn default() -> Self {
        let sql = sql_user(&RawSql::default());
        Access { users: HashMap::new(), sql, socket_peers: default_peers() }
    }
}

impl Access {
    /// Reads the file. It also asks the system for the numbers of accounts.
    ///
    /// # Errors
    /// What is wrong, with the file and the line.
    pub(crate) fn from_file(path: &Path) -> Result<Access, String> {
        let here = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the file of users, {here}: {error}"))?;
        Access::from_toml(&text).map_err(|error| format!("{here}: {error}"))
    }

    pub(crate) fn from_toml(text: &str) -> Result<Access, String> {
        let raw: Raw = toml::from_str(text).map_err(|error| quiet(text, &error))?;
        let mut access = Access { sql: sql_user(&raw.sql), ..Access::default() };
        if let Some(peers) = &raw.sql.socket_peers {
            let number =
                |peer: &Spanned<Peer>| peer.get_ref().number().map_err(|why| at(text, &peer.span(), &why));
            access.socket_peers = peers.iter().map(number).collect::<Result<_, _>>()?;
        }
        if access.sql.rights.publish.to_text().len() > SQL_RULE_MAX {
            return Err(format!("[sql] publish: the filters have more than {SQL_RULE_MAX} bytes in all"));
        }
        for user in raw.users {
            let span = user.span();
            let user = user.into_inner().user().map_err(|why| at(text, &span, &why))?;
            let name = user.name.clone();
            if access.users.insert(name.clone(), Rc::new(user)).is_some() {
                return Err(at(text, &span, &format!("there are two users called \"{name}\"")));
            }
        }
        access.check_once()?;
        Ok(access)
    }

    /// Two users with one token, or one key, could not be told apart.
    fn check_once(&self) -> Result<(), String> {
        let users: Vec<_> = self.users.values().collect();
        for (n, user) in users.iter().enumerate() {
            let same = |other: &&&Rc<User>| {
                other.proof == user.proof && matches!(user.proof, Proof::Token(_) | Proof::Nkey(_))
            };
            if let Some(other) = users[n + 1..].iter().find(same) {
                let (one, two) =
                    (user.name.clone().min(other.name.clone()), user.name.clone().max(other.name.clone()));
                return Err(format!("the users \"{one}\" and \"{two}\" have the same token or key"));
            }
        }
        Ok(())
    }
}

/// An error of the parser's, without the text of the line that it would show.
pub(crate) fn quiet(text: &str, error: &toml::de::Error) -> String {
    match error.span() {
        Some(span) => at(text, &span, error.message()),
        None => error.message().to_owned(),
    }
}

fn at(text: &str, span: &Range<usize>, why: &str) -> String {
    let line =
        text.as_bytes()[..span.start.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1;
    format!("line {line}: {why}")
}

#[derive(serde::Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    sql: RawSql,
    users: Vec<Spanned<RawUser>>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct RawSql {
    socket_peers: Option<Vec<Spanned<Peer>>>,
    publish: RawRule<Filter>,
    subscribe: RawRule<Line>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUser {
    name: String,
    password: Option<PasswordHash>,
    token: Option<TokenDigest>,
    nkey: Option<PublicKey>,
    #[serde(default)]
    publish: RawRule<Filter>,
    #[serde(default)]
    subscribe: RawRule<Line>,
    #[serde(default)]
    allow_responses: RawResponses,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule<T> {
    allow: Option<Vec<T>>,
    #[serde(default = "Vec::new")]
    deny: Vec<T>,
}

impl<T> Default for RawRule<T> {
    fn default() -> Self {
        RawRule { allow: None, deny: Vec::new() }
    }
}

#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "expected true, false or { max = 1, ttl = \"2m\" }")]
enum RawResponses {
    Plain(bool),
    Exact(ExactResponses),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ExactResponses {
    max: Option<u32>,
    ttl: Option<Span>,
}

impl Default for RawResponses {
    fn default() -> Self {
        RawResponses::Plain(false)
    }
}

/// An account of the system.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "expected an account's name or number")]
enum Peer {
    Number(u32),
    Name(String),
}

impl Peer {
    fn number(&self) -> Result<u32, String> {
        match self {
            Peer::Number(number) => Ok(*number),
            Peer::Name(name) => match Account::from_name(name) {
                Ok(Some(account)) => Ok(account.uid.as_raw()),
                Ok(None) => Err(format!("there is no account \"{name}\" on this system")),
                Err(errno) => Err(format!("cannot look up the account \"{name}\": {errno}")),
            },
        }
    }
}

/// Root, the daemon's own account, the database server's.
fn default_peers() -> Vec<u32> {
    let server = Account::from_name(SERVER_ACCOUNT).ok().flatten().map(|account| account.uid.as_raw());
    [0, nix::unistd::geteuid().as_raw()].into_iter().chain(server).collect()
}

fn sql_user(raw: &RawSql) -> Rc<User> {
    let rights = Rights {
        publish: raw.publish.rule(),
        subscribe: raw.subscribe.subscribe(),
        responses: None,
        own_inboxes: true,
    };
    Rc::new(User { name: "sql".into(), proof: Proof::None, rights })
}

impl RawUser {
    fn user(self) -> Result<User, String> {
        let name = self.name;
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err("a user's name is empty or holds a control character".into());
        }
        let proof = match (self.password, self.token, self.nkey) {
            (Some(PasswordHash(hash)), None, None) => Proof::Password(hash.into()),
            (None, Some(TokenDigest(digest)), None) => Proof::Token(digest),
            (None, None, Some(PublicKey(key))) => Proof::Nkey(key.into()),
            _ => {
                return Err(format!(
                    "the user \"{name}\" needs one of password, token and nkey, and only one"
                ));
            }
        };
        let responses = match self.allow_responses {
            RawResponses::Plain(false) => None,
            RawResponses::Plain(true) => Some(Responses { max: 1, ttl: RESPONSE_TTL }),
            RawResponses::Exact(ExactResponses { max, ttl }) => {
                Some(Responses { max: max.unwrap_or(1), ttl: ttl.map_or(RESPONSE_TTL, |ttl| ttl.0) })
            }
        };
        let mut publish = self.publish.rule();
        if responses.is_some() {
            // As the reference has it: whoever may answer may do nothing else unless that is said.
            publish.allow.get_or_insert_default();
        }
        let rights = Rights { publish, subscribe: self.subscribe.subscribe(), responses, own_inboxes: false };
        Ok(User { name: name.into(), proof, rights })
    }
}

impl RawRule<Filter> {
    fn rule(&self) -> Rule {
        let bytes = |list: &Vec<Filter>| list.iter().map(|filter| filter.0.as_bytes().into()).collect();
        Rule { allow: self.allow.as_ref().map(bytes), deny: bytes(&self.deny) }
    }
}

impl RawRule<Line> {
    fn subscribe(&self) -> Subscribe {
        let entries = |list: &Vec<Line>| list.iter().map(|line| line.0.clone()).collect();
        Subscribe { allow: self.allow.as_ref().map(entries), deny: entries(&self.deny) }
    }
}

/// A filter of subjects.
struct Filter(String);

/// A filter, perhaps with a queue group behind a blank.
struct Line(Entry);

fn filter(text: &str) -> Result<&str, String> {
    let fine = text.len() <= FILTER_MAX
        && subject::valid_filter(text.as_bytes())
        && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if fine { Ok(text) } else { Err(format!("\"{}\" is no filter of subjects", text.escape_debug())) }
}

impl TryFrom<String> for Filter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        filter(&text)?;
        Ok(Filter(text))
    }
}

impl TryFrom<String> for Line {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (name, queue) = match text.split_once(' ') {
            Some((name, queue)) => (filter(name)?, Some(filter(queue)?.as_bytes().into())),
            None => (filter(&text)?, None),
        };
        Ok(Line(Entry { filter: name.as_bytes().into(), queue }))
    }
}

/// A bcrypt hash.
struct PasswordHash(String);

/// The digest of a token.
struct TokenDigest([u8; 32]);

/// A public key of a user.
struct PublicKey(String);

impl TryFrom<String> for PasswordHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts: bcrypt::HashParts = text.parse().map_err(|_| {
            "password is no bcrypt hash; `rowcall user hash` makes one, and only that belongs here".to_owned()
        })?;
        match parts.get_cost() {
            4..=COST_MAX => Ok(PasswordHash(text)),
            _ => Err(format!("the cost of a bcrypt hash is 4 to {COST_MAX} here")),
        }
    }
}

impl TryFrom<String> for TokenDigest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = "token is no \"sha256:\" with 64 hexadecimal digits; `rowcall user token` makes a token and \
                     what belongs here";
        let digits = text.strip_prefix(DIGEST).filter(|digits| digits.len() == 64 && digits.is_ascii());
        let byte = |n: usize| u8::from_str_radix(digits?.get(2 * n..2 * n + 2)?, 16).ok();
        let mut digest = [0; 32];
        for (n, place) in digest.iter_mut().enumerate() {
            *place = byte(n).ok_or(wrong)?;
        }
        Ok(TokenDigest(digest))
    }
}

impl TryFrom<String> for PublicKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fine =
            text.len() == 56 && text.starts_with('U') && nkeys::KeyPair::from_public_key(&text).is_ok();
        if fine {
            Ok(PublicKey(text))
        } else {
            Err("nkey is no public key of a user (56 characters, U first)".into())
        }
    }
}

/// Text whose value no error ever shows.
struct Text<T>(std::marker::PhantomData<T>);

impl<T: TryFrom<String, Error = String>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::try_from(text.to_owned()).map_err(E::custom)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<T, E> {
        Err(E::custom("expected a string in quotes"))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<T, E> {
        Err(E::custom("expected a string in quotes"))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<T, E> {
        Err(E::custom("expected a string in quotes"))
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<T, E> {
        Err(E::custom("expected a string in quotes"))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<T, E> {
        Err(E::custom("expected a string in quotes"))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<T, E> {
        Err(E::custom("expected a string in quotes"))
    }
}

macro_rules! from_text {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(Text(std::marker::PhantomData))
            }
        }
    )*};
}

from_text!(Filter, Line, PasswordHash, TokenDigest, PublicKey);

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    const HASH: &str = "$2b$04$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";
    const KEY: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

    fn with_user(rest: &str) -> String {
        format!("[[users]]\nname = \"u\"\npassword = \"{HASH}\"\n{rest}")
    }

    fn rights(rest: &str) -> Rights {
        Access::from_toml(&with_user(rest)).unwrap().user("u").unwrap().rights.clone()
    }

    #[test]
    fn the_example_is_fine() {
        let access = Access::from_toml(include_str!("../../../dist/users.toml")).unwrap();
        assert!(!access.has_users(), "everything in it is switched off");
        let uncommented: String = include_str!("../../../dist/users.toml")
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n")
            .collect();
        let access = Access::from_toml(&uncommented).unwrap();
        assert!(access.users.len() == 3 && access.has_nkeys());
    }

    #[test]
    fn nothing_said_is_everything_allowed() {
        let access = Access::from_toml("").unwrap();
        assert!(!access.has_users() && !access.has_nkeys());
        assert!(access.sql.rights.own_inboxes && access.sql.rights.publish.is_open());
        assert!(access.socket_peers.contains(&0));
        assert_eq!(rights(""), Rights::default());
    }

    #[test]
    fn lists_queues_and_responses() {
        let it = rights("subscribe = { allow = [\"a.>\", \"jobs.* crew\"], deny = [\"a.x\"] }");
        assert!(it.may_subscribe(b"a.b", None) && it.may_subscribe(b"jobs.1", Some(b"crew")));
        assert!(!it.may_subscribe(b"jobs.1", None) && !it.may_subscribe(b"a.x", None));
        let it = rights("publish = { deny = [\"secret.>\"] }");
        assert!(it.may_publish(b"a") && !it.may_publish(b"secret.a"));
        let it = rights("allow_responses = true");
        assert_eq!(it.responses, Some(Responses { max: 1, ttl: Duration::from_secs(120) }));
        assert!(!it.may_publish(b"a"), "whoever may answer may do nothing else");
        let it = rights("allow_responses = { max = 3, ttl = \"10s\" }\npublish = { allow = [\"a\"] }");
        assert_eq!(it.responses, Some(Responses { max: 3, ttl: Duration::from_secs(10) }));
        assert!(it.may_publish(b"a") && !it.may_publish(b"b"));
        assert_eq!(rights("allow_responses = false").responses, None);
    }

    #[test]
    fn users_are_found_by_what_they_show() {
        let digest: String = Sha256::digest("token").iter().map(|byte| format!("{byte:02x}")).collect();
        let access = Access::from_toml(&format!(
            "[[users]]\nname = \"t\"\ntoken = \"sha256:{digest}\"\n[[users]]\nname = \"k\"\nnkey = \"{KEY}\""
        ))
        .unwrap();
        assert_eq!(access.by_token("token").map(|user| &*user.name), Some("t"));
        assert!(access.by_token("other").is_none() && access.by_token("").is_none());
        assert_eq!(access.by_nkey(KEY).map(|user| &*user.name), Some("k"));
        assert!(access.by_nkey("U").is_none());
        assert!(!format!("{access:?}").contains(&digest));
    }

    /// What is wrong is said with its line; what may be a secret is never shown.
    #[test]
    fn errors_name_the_line_and_no_secret() {
        const SECRET: &str = "hunter2";
        let check = |text: &str, line: usize, words: &str| {
            let error = Access::from_toml(text).expect_err(text);
            assert!(error.starts_with(&format!("line {line}: ")), "{text:?}: {error:?}");
            assert!(error.contains(words), "{text:?}: {words:?} is not in {error:?}");
            assert!(!error.contains(SECRET), "{text:?}: {error:?}");
        };
        let user = |field: &str| format!("[[users]]\nname = \"u\"\n{field}");
        check(&user("password = \"hunter2\""), 3, "`rowcall user hash` makes one");
        check(&user("password = \"hunter2"), 3, "");
        check(&user("password = hunter2"), 3, "");
        check(&user("password \"hunter2\""), 3, "");
        check(&user("password = 'hunter2' x"), 3, "");
        check(&user("password = [\"hunter2\"]"), 3, "a string");
        check(&user("password = { hunter2 = 1 }"), 3, "a string");
        check(&user("pass = \"hunter2\""), 3, "unknown field `pass`");
        check(&user("token = \"hunter2\""), 3, "`rowcall user token` makes a token");
        check(&user("nkey = \"hunter2\""), 3, "no public key");
        check(&user("nkey = \"SUAhunter2\""), 3, "no public key");
        let long = ["99999999999999999999999999999", "340282366920938463463374607431768211455"];
        for number in ["12345", "-12345", "1.2345e4", "true"].into_iter().chain(long) {
            let error = Access::from_toml(&user(&format!("password = {number}"))).unwrap_err();
            assert_eq!(error, "line 3: expected a string in quotes");
        }
        let costly = HASH.replace("$04$", "$15$");
        check(&user(&format!("password = \"{costly}\"")), 3, "the cost");
        check(&user(""), 1, "one of password, token and nkey");
        check(&with_user(&format!("nkey = \"{KEY}\"")), 1, "only one");
        check(&format!("{}\n{}", with_user(""), with_user("")), 5, "two users called \"u\"");
        check("[[users]]\nname = \"\"\n", 1, "name is empty");
        check(&with_user("publish = { allow = [\"a..b\"] }"), 4, "\"a..b\" is no filter");
        check(&with_user("publish = { allow = [\"a q\"] }"), 4, "\"a q\" is no filter");
        check(&with_user("publish = { alow = [] }"), 4, "unknown field `alow`");
        check(&with_user("allow_responses = \"yes\""), 4, "expected true, false or");
        check("[sql]\nsocket_peers = [\"no such account\"]", 2, "there is no account");
        check("[sql]\nsocket_peers = [1.5]", 2, "an account's name or number");
        check("\n[slq]\n", 2, "unknown field `slq`");
        let twice = |name: &str| format!("[[users]]\nname = \"{name}\"\nnkey = \"{KEY}\"\n");
        let error = Access::from_toml(&(twice("b") + &twice("a"))).unwrap_err();
        assert_eq!(error, "the users \"a\" and \"b\" have the same token or key");
        let long =
            format!("[sql]\npublish = {{ deny = [{}] }}", format!("\"{}\",", "a".repeat(200)).repeat(50));
        assert!(Access::from_toml(&long).unwrap_err().contains("8192 bytes"));
    }
}
