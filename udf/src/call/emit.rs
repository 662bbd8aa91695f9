//! `rowcall_emit`: names and types of the arguments to a JSON object.

use super::{all_as_text, event, subject};
use crate::abi::{Args, Function, IntegerFunction, Kind};
use crate::bounded::Bounded;
use crate::counters::Reason;
use crate::json::{self, Shape};
use crate::link::{self, Content};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::c_ulong;

/// `rowcall_emit(subject, value AS name, …)`
pub(crate) struct Emit {
    /// The names, or why there is no object that has them.
    names: Result<Names, Reason>,
}

/// The names of an object's members.
struct Names {
    /// `"name":` of each value, one behind the other.
    text: Bounded,
    /// Where each of them ends, and what the value is.
    values: Vec<(usize, Shape)>,
}

impl Function for Emit {
    const RESULT_MAX: c_ulong = super::ONE_DIGIT;

    fn init(args: &mut Args<'_>) -> Result<Self, &'static str> {
        if args.len() < 2 {
            return Err("rowcall_emit(subject, value AS name [, value AS name]...)");
        }
        let names = Names::of((1..args.len()).map(|n| named(args, n)), link::payload_max());
        all_as_text(args);
        Ok(Emit { names })
    }
}

impl IntegerFunction for Emit {
    fn call(&mut self, args: &Args<'_>) -> i64 {
        event(|| {
            let subject = subject(args)?;
            let names = self.names.as_ref().map_err(|&reason| reason)?;
            link::with(|link| {
                link.publish(subject, |body| {
                    names.object(args, body)?;
                    Ok(Content { header_len: 0, rest: b"" })
                })
            })
        })
    }
}

impl Names {
    /// The names of these values. They may become so long altogether.
    fn of<'a>(named: impl Iterator<Item = (&'a [u8], Shape)>, limit: usize) -> Result<Names, Reason> {
        let count = named.size_hint().0;
        let mut names = Names { text: Bounded::new(limit), values: Vec::with_capacity(count) };
        let mut taken = Taken { latest: HashMap::with_capacity(count) };
        for (name, shape) in named {
            json::name(&mut names.text, taken.unused(name).as_bytes())?;
            names.values.push((names.text.len(), shape));
        }
        Ok(names)
    }

    fn object(&self, args: &Args<'_>, out: &mut Bounded) -> Result<(), Reason> {
        let (mut separator, mut start) = (b"{", 0);
        for (n, &(end, shape)) in self.values.iter().enumerate() {
            out.put(separator)?;
            out.put(&self.text[start..end])?;
            json::value(out, shape, args.bytes(n + 1))?;
            (separator, start) = (b",", end);
        }
        out.put(b"}")
    }
}

/// The names that are taken, each with the latest number that was put behind it.
struct Taken<'a> {
    latest: HashMap<Cow<'a, str>, u32>,
}

impl<'a> Taken<'a> {
    /// The name, or, so that no value hides another, the name with a number. The next number is known
    /// rather than looked for, and a name that has a number by itself stands in the way of one name
    /// only: all names together are looked up at most three times as often as there are names.
    fn unused(&mut self, name: &'a [u8]) -> Cow<'a, str> {
        let name = String::from_utf8_lossy(name);
        let mut unused = name.clone();
        if let Some(mut number) = self.latest.get(&name).copied() {
            while self.latest.contains_key(&unused) {
                number += 1;
                unused = Cow::Owned(format!("{name}_{number}"));
            }
            self.latest.insert(name, number);
        }
        self.latest.insert(unused.clone(), 1);
        unused
    }
}

/// The member name of the n-th argument, and what its value is.
fn named<'a>(args: &'a Args<'_>, n: usize) -> (&'a [u8], Shape) {
    let name = plain_name(args.name(n));
    match args.kind(n) {
        Kind::Int => (name, Shape::Integer(args.integer(n))),
        Kind::Real | Kind::Decimal => (name, Shape::Number),
        Kind::Text | Kind::Other => match (name.strip_suffix(b":json"), name.strip_suffix(b":base64")) {
            (Some(name), _) => (name, Shape::Json),
            (_, Some(name)) => (name, Shape::Base64),
            _ => (name, Shape::Text),
        },
    }
}

/// An alias is the name as it stands. A column without one comes as it was written, `NEW.id` say:
/// then its last part is the name. (An alias that reads like that cannot be told from it.)
fn plain_name(text: &[u8]) -> &[u8] {
    let mut rest = text;
    loop {
        match identifier(rest) {
            Some((name, [])) => return name,
            Some((_, [b'.', behind @ ..])) => rest = behind,
            _ => return text,
        }
    }
}

/// The identifier that the text begins with, without its quotes, and what is behind it.
fn identifier(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(quoted) = text.strip_prefix(b"`") {
        let end = quoted.iter().position(|&byte| byte == b'`')?;
        return Some((&quoted[..end], &quoted[end + 1..]));
    }
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || *byte >= 0x80;
    let (name, behind) = text.split_at(text.iter().take_while(|byte| plain(byte)).count());
    // Nothing, or a number.
    if name.iter().all(u8::is_ascii_digit) { None } else { Some((name, behind)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_columns_and_aliases() {
        let check =
            |text: &str, name: &str| assert_eq!(plain_name(text.as_bytes()), name.as_bytes(), "{text}");
        check("id", "id");
        check("NEW.id", "id");
        check("new.`id`", "id");
        check("shop.orders.größe", "größe");
        check("`odd`", "odd");
        check("new.`größe in cm. ca`", "größe in cm. ca");
        check("`NEW`.`a``b`", "`NEW`.`a``b`");
        check("NEW.a + 1.5", "NEW.a + 1.5");
        check("1.5", "1.5");
        check("t.", "t.");
        check("doc:json", "doc:json");
        check("", "");
    }

    /// The members of an object that has these names.
    fn members<'a>(names: impl IntoIterator<Item = &'a str>, limit: usize) -> Result<String, Reason> {
        let names = names.into_iter().map(|name| (name.as_bytes(), Shape::Text));
        let names = Names::of(names.collect::<Vec<_>>().into_iter(), limit)?;
        Ok(String::from_utf8(names.text.to_vec()).unwrap())
    }

    #[test]
    fn no_value_hides_another() {
        assert_eq!(members(["id", "id", "other", "id"], 1000).unwrap(), r#""id":"id_2":"other":"id_3":"#);
        let crossed = members(["x", "x_2", "x", "x_2", "x", "x_2_2"], 1000).unwrap();
        assert_eq!(crossed, r#""x":"x_2":"x_3":"x_2_2":"x_4":"x_2_2_2":"#);
    }

    /// Looking each name up among those before, once for each number, would take minutes.
    #[test]
    fn equal_names_cost_no_more_than_others() {
        let count = 65_536;
        let equal = members(std::iter::repeat_n("?", count), 1 << 20).unwrap();
        assert!(equal.ends_with(&format!(r#""?_{}":"?_{count}":"#, count - 1)));
        // Names that others would get are taken already, in the order that is worst.
        let numbered: Vec<String> = (2..count).map(|n| format!("x_{n}")).collect();
        let names = numbered.iter().map(String::as_str).chain(std::iter::repeat_n("x", count));
        let crossed = members(names, 4 << 20).unwrap();
        assert!(
            crossed.ends_with(&format!(r#""x_{}":"#, 2 * count - 2)),
            "{}",
            &crossed[crossed.len() - 40..]
        );
    }

    #[test]
    fn names_stop_at_the_limit() {
        let long = "x".repeat(1000);
        assert_eq!(members([&*long, "y"], 1007).map(|members| members.len()), Ok(1007));
        assert_eq!(members([&*long, "yy"], 1007), Err(Reason::TooLarge));
        assert_eq!(members(std::iter::repeat_n(&*long, 100_000), 1 << 20), Err(Reason::TooLarge));
    }
}
