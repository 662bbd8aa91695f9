//! rowcall_<version>.so: everything here runs inside mysqld or mariadbd, as a guest. The rules a
//! guest keeps:
//!
//! 1. The server's structures are declared by hand from its own header, with sizes and offsets
//!    asserted ([`abi`]); the client library's header is stale.
//! 2. No function of the client library is called: the server would refuse to load a library that
//!    needs libmariadb.so.3, or mix its own symbols into it.
//! 3. Every entry point catches panics ([`abi`]): an escaping one aborts the server.
//! 4. `init` only looks at the arguments and never connects. A failing `init` fails the user's
//!    statement, so it fails only for a wrong number of arguments, never for their types.
//! 5. A call never sets `*error`, which would silence the rest of the statement: it returns 0 or NULL.
//! 6. In a trigger `init`, call and `deinit` run once for each row, so the connection belongs to the
//!    thread ([`link`]), is opened when first needed, and is closed with the thread.
//! 7. Sockets are non-blocking. A full one is waited for once, briefly; then events are dropped and
//!    counted ([`counters`]). A frame begun is finished, or the connection is closed.
//! 8. A daemon that is away costs nanoseconds: the whole process backs off ([`backoff`]).
//! 9. No DNS, no files, no locks held across a system call, no threads, no large stack frames,
//!    nothing on stderr.
//! 10. Whoever waits asks the server in short slices whether the statement was killed ([`killed`]).
//! 11. The library is linked so as never to be unmapped (build.rs) and shipped under a versioned name.

mod abi;
mod backoff;
mod bounded;
mod call;
mod counters;
mod entry;
mod integers;
mod json;
mod killed;
mod link;
mod random;
mod socket;
