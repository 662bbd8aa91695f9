//! Rust's text without what is not code: comments are taken out and texts emptied, line by line
//! where they were. As much of the language as that needs, and no more.

/// The code. Line ends stay, so that line numbers do.
pub fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = match no_code(rest) {
            Some((length, instead)) => {
                code.push_str(instead);
                code.extend(rest[..length].chars().filter(|&c| c == '\n'));
                length
            }
            None => {
                code.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    code
}

/// If something that is no code begins here: how long it is, and what stands for it.
fn no_code(rest: &str) -> Option<(usize, &'static str)> {
    if rest.starts_with("//") {
        return Some((rest.find('\n').unwrap_or(rest.len()), ""));
    }
    if rest.starts_with("/*") {
        return Some((rest.find("*/").map_or(rest.len(), |end| end + 2), ""));
    }
    if rest.starts_with('"') {
        return Some((quoted(rest), "\"\""));
    }
    if rest.starts_with('r') {
        return raw(rest).map(|length| (length, "\"\""));
    }
    // 'x' and '\n' are characters; 'x on its own is a lifetime.
    let mut chars = rest.strip_prefix('\'')?.chars();
    match (chars.next()?, chars.next()) {
        ('\\', _) => Some((quoted(rest), "' '")),
        (c, Some('\'')) => Some((c.len_utf8() + 2, "' '")),
        _ => None,
    }
}

/// How long r"…", r#"…"# and so on are.
fn raw(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|&byte| byte == b'#').count();
    let start = 1 + hashes + 1;
    let text = rest[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text.find(&end).map_or(rest.len(), |at| start + at + end.len()))
}

/// How long what stands between this mark and its next is, both included.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.bytes().enumerate().skip(1).find(|&(_, byte)| {
        let ends = byte == rest.as_bytes()[0] && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |(at, _)| at + 1)
}

#[test]
fn code_is_told_from_the_rest() {
    let check = |text: &str, expected: &str| assert_eq!(code_of(text), expected, "{text:?}");
    check("a // b\nc", "a \nc");
    check("a /* b\n c */ d", "a \n d");
    check(r#"f("a // b", "\"unsafe\"") + 1"#, r#"f("", "") + 1"#);
    check("f(\"two\nlines\")", "f(\"\"\n)");
    check(r##"f(r#"a "b" c"#, br"\", 'x')"##, r#"f("", b"", ' ')"#);
    check("let r = for_each(r#type)", "let r = for_each(r#type)");
    check("fn f<'a>(x: &'a str) -> char { '\"' }", "fn f<'a>(x: &'a str) -> char { ' ' }");
    check("'\\'' '\\u{1b}' b'\\n' '…' for x", "' ' ' ' b' ' ' ' for x");
}
