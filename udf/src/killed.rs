//! Asks the server whether the running statement was killed: nothing interrupts a poll(), neither
//! KILL QUERY nor a statement's time limit. What is done about it is the waiter's business.
//!
//! This is a door for `unsafe`: the question is put through functions that the servers export for
//! plugins, looked up by name.
#![allow(unsafe_code)]

use once_cell::sync::Lazy;
use std::ffi::{CStr, c_int, c_void};

/// Whether the statement that this thread runs was killed; `None` where the server cannot be asked.
pub(crate) fn killed() -> Option<bool> {
    let (current, killed) = (*QUESTION)?;
    // SAFETY: the function takes nothing and gives this thread's session, or null.
    let session = unsafe { current() };
    if session.is_null() {
        return None;
    }
    // SAFETY: the session is this thread's own, so it outlives the call.
    Some(unsafe { killed(session) } != 0)
}

type Current = unsafe extern "C" fn() -> *mut c_void;
type Killed = unsafe extern "C" fn(*mut c_void) -> c_int;

static QUESTION: Lazy<Option<(Current, Killed)>> = Lazy::new(|| {
    // MariaDB's first, then MySQL's.
    question(c"_current_thd", c"thd_kill_level")
        .or_else(|| question(c"_Z19thd_get_current_thdv", c"thd_killed"))
});

fn question(current: &CStr, killed: &CStr) -> Option<(Current, Killed)> {
    let (current, killed) = (symbol(current)?, symbol(killed)?);
    // SAFETY: the servers declare this function as `THD *f()`.
    let current = unsafe { std::mem::transmute::<*mut c_void, Current>(current) };
    // SAFETY: and this one as `int f(const THD *)`, or with an enum, which is an int.
    let killed = unsafe { std::mem::transmute::<*mut c_void, Killed>(killed) };
    Some((current, killed))
}

fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name ends with a NUL; asking for any name is safe.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

#[cfg(test)]
mod tests {
    #[test]
    fn outside_a_server_nobody_can_be_asked() {
        assert_eq!(super::killed(), None);
    }
}
