//! The border with the server: its two structures as it declares them, safe views of them, and the
//! four kinds of entry point. What a function means is not known here.
//!
//! This is a door for `unsafe`. Everything in it rests on the server's promises for loadable
//! functions: the pointers it passes are valid for the duration of the call; nobody else uses them
//! meanwhile; `ptr` is left alone between init and deinit; init comes before the calls and deinit
//! after them, each once, though not always on the same thread.
#![allow(unsafe_code)]

use crate::counters::{self, Reason};
use once_cell::sync::Lazy;
use std::cell::Cell;
use std::ffi::{c_char, c_int, c_longlong, c_uint, c_ulong, c_void};
use std::panic::{self, AssertUnwindSafe};
use std::{ptr, slice};

/// `UDF_INIT` of MySQL's udf_registration_types.h.
#[repr(C)]
pub(crate) struct UdfInit {
    maybe_null: bool,
    decimals: c_uint,
    max_length: c_ulong,
    ptr: *mut c_char,
    const_item: bool,
    extension: *mut c_void,
}

/// `UDF_ARGS` of the same header.
#[repr(C)]
pub(crate) struct UdfArgs {
    arg_count: c_uint,
    arg_type: *mut c_int,
    args: *mut *mut c_char,
    lengths: *mut c_ulong,
    maybe_null: *mut c_char,
    attributes: *mut *mut c_char,
    attribute_lengths: *mut c_ulong,
    /// Garbage on some servers: never to be touched.
    extension: *mut c_void,
}

const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<UdfInit>() == 40);
    assert!(offset_of!(UdfInit, decimals) == 4);
    assert!(offset_of!(UdfInit, max_length) == 8);
    assert!(offset_of!(UdfInit, ptr) == 16);
    assert!(offset_of!(UdfInit, const_item) == 24);
    assert!(offset_of!(UdfInit, extension) == 32);
    assert!(size_of::<UdfArgs>() == 64);
    assert!(offset_of!(UdfArgs, arg_type) == 8);
    assert!(offset_of!(UdfArgs, args) == 16);
    assert!(offset_of!(UdfArgs, lengths) == 24);
    assert!(offset_of!(UdfArgs, maybe_null) == 32);
    assert!(offset_of!(UdfArgs, attributes) == 40);
    assert!(offset_of!(UdfArgs, attribute_lengths) == 48);
    assert!(offset_of!(UdfArgs, extension) == 56);
};

/// `Item_result`: how a value is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes and a length.
    Text,
    /// A `double`.
    Real,
    /// A `long long`; whether it is unsigned is not told.
    Int,
    /// Bytes and a length: the digits.
    Decimal,
    /// A row, or something newer than this library.
    Other,
}

const STRING_RESULT: c_int = 0;
const REAL_RESULT: c_int = 1;
const INT_RESULT: c_int = 2;
const DECIMAL_RESULT: c_int = 4;

/// The longest result, for temporary tables, which cut silently at this length; 2^24 makes the
/// server use LONGBLOB.
const TEXT_MAX: c_ulong = 16_777_216;

/// How much of init's message a server shows (MariaDB, MySQL 5.6), in bytes, its end included.
const MESSAGE_MAX: usize = 80;

/// A loadable function: `Self` is what it keeps from init to deinit.
pub(crate) trait Function: Sized {
    /// How long a result may be, in bytes or in digits.
    const RESULT_MAX: c_ulong = TEXT_MAX;

    /// Looks at the number and types of the arguments, and asks for text. It refuses a wrong number of
    /// them and nothing else: the statement fails with it, perhaps not before a row comes that is unlike others.
    fn init(args: &mut Args<'_>) -> Result<Self, &'static str>;
}

/// One that returns an integer, never NULL.
pub(crate) trait IntegerFunction: Function {
    /// One call.
    fn call(&mut self, args: &Args<'_>) -> i64;
}

/// One that returns bytes, or NULL. The bytes stay valid until the next call or deinit.
pub(crate) trait TextFunction: Function {
    /// One call.
    fn call(&mut self, args: &Args<'_>) -> Option<&[u8]>;
}

/// The arguments of one call: the server's tables, each with an entry for each argument.
pub(crate) struct Args<'a> {
    kinds: &'a [Cell<c_int>],
    values: &'a [*mut c_char],
    lengths: &'a [c_ulong],
    names: &'a [*mut c_char],
    name_lengths: &'a [c_ulong],
}

impl<'a> Args<'a> {
    /// # Safety
    /// The tables are the server's, see the head of this file.
    unsafe fn new(raw: &'a UdfArgs) -> Self {
        let count = raw.arg_count as usize;
        Args {
            // SAFETY: the table has so many entries, and in init a function may write to them. A
            // Cell has the layout of what it holds.
            kinds: unsafe { table(raw.arg_type.cast(), count) },
            // SAFETY: the table has so many entries.
            values: unsafe { table(raw.args, count) },
            // SAFETY: likewise.
            lengths: unsafe { table(raw.lengths, count) },
            // SAFETY: likewise.
            names: unsafe { table(raw.attributes, count) },
            // SAFETY: likewise.
            name_lengths: unsafe { table(raw.attribute_lengths, count) },
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// How the n-th is passed.
    pub(crate) fn kind(&self, n: usize) -> Kind {
        match self.kinds[n].get() {
            STRING_RESULT => Kind::Text,
            REAL_RESULT => Kind::Real,
            INT_RESULT => Kind::Int,
            DECIMAL_RESULT => Kind::Decimal,
            _ => Kind::Other,
        }
    }

    /// Asks, in init, for the n-th to be passed as bytes: its text.
    pub(crate) fn coerce_to_text(&mut self, n: usize) {
        self.kinds[n].set(STRING_RESULT);
    }

    /// The n-th, which is passed as bytes; `None` for NULL.
    pub(crate) fn bytes(&self, n: usize) -> Option<&[u8]> {
        debug_assert!(matches!(self.kind(n), Kind::Text | Kind::Decimal));
        // SAFETY: in a call, the length of a value that is bytes is that of what it points at.
        unsafe { bytes(self.values[n], self.lengths[n]) }
    }

    /// In init, the n-th, which is an integer; `None` for NULL and for what is not known yet.
    pub(crate) fn integer(&self, n: usize) -> Option<i64> {
        debug_assert!(self.kind(n) == Kind::Int);
        let value = self.values[n].cast::<c_longlong>();
        // SAFETY: an integer that is not NULL is pointed at; nothing is promised of its alignment.
        (!value.is_null()).then(|| unsafe { value.read_unaligned() })
    }

    /// The n-th's name: its alias, else its text as written. UTF-8 on every server.
    pub(crate) fn name(&self, n: usize) -> &[u8] {
        // SAFETY: the length is that of the name.
        unsafe { bytes(self.names[n], self.name_lengths[n]) }.unwrap_or_default()
    }
}

/// # Safety
/// `start` points at `count` entries that stay as they are for `'a`; at none, it may be anything.
unsafe fn table<'a, T>(start: *const T, count: usize) -> &'a [T] {
    // SAFETY: the contract is passed on; of nothing, no pointer is looked at.
    if count == 0 { &[] } else { unsafe { slice::from_raw_parts(start, count) } }
}

/// # Safety
/// `start` is null or points at `len` bytes that stay as they are for `'a`.
unsafe fn bytes<'a>(start: *const c_char, len: c_ulong) -> Option<&'a [u8]> {
    // SAFETY: the contract is passed on.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast(), len as usize) })
}

/// `xxx_init`: true refuses the statement, with the message.
///
/// # Safety
/// The pointers are the server's, see the head of this file; `message` has room for 80 bytes.
pub(crate) unsafe fn init<F: Function>(init: *mut UdfInit, args: *mut UdfArgs, message: *mut c_char) -> bool {
    Lazy::force(&QUIET);
    // SAFETY: the pointer is valid and ours for the call.
    let init = unsafe { &mut *init };
    // SAFETY: likewise.
    let args = unsafe { &*args };
    // SAFETY: they are the server's.
    let mut args = unsafe { Args::new(args) };
    init.maybe_null = true;
    // Without this, calls with constant arguments are made once for a whole statement, or by EXPLAIN.
    init.const_item = false;
    init.max_length = F::RESULT_MAX;
    init.ptr = ptr::null_mut();
    match panic::catch_unwind(AssertUnwindSafe(|| F::init(&mut args))) {
        Ok(Ok(function)) => {
            init.ptr = Box::into_raw(Box::new(function)).cast();
            false
        }
        Ok(Err(text)) => {
            // SAFETY: message has room for so many bytes, and is ours for the call.
            let message = unsafe { slice::from_raw_parts_mut(message.cast::<u8>(), MESSAGE_MAX) };
            let len = text.len().min(MESSAGE_MAX - 1);
            message[..len].copy_from_slice(&text.as_bytes()[..len]);
            message[len] = 0;
            true
        }
        // No state: every call of this statement answers 0 or NULL.
        Err(_) => {
            counters::drop_one(Reason::Panic);
            false
        }
    }
}

/// `xxx` of a function that returns an integer.
///
/// # Safety
/// The pointers are the server's, see the head of this file, and `init` has run for the same `F`.
pub(crate) unsafe fn integer<F: IntegerFunction>(init: *mut UdfInit, args: *mut UdfArgs) -> c_longlong {
    // SAFETY: the contract is passed on.
    unsafe { guarded::<F, _>(init, args, |function, args| Some(function.call(args))) }.unwrap_or(0)
}

/// `xxx` of a function that returns bytes.
///
/// # Safety
/// As for [`integer`].
pub(crate) unsafe fn text<F: TextFunction>(
    init: *mut UdfInit,
    args: *mut UdfArgs,
    length: *mut c_ulong,
    is_null: *mut u8,
) -> *mut c_char {
    // SAFETY: the contract is passed on.
    let bytes = unsafe {
        guarded::<F, _>(init, args, |function, args| {
            function.call(args).map(|bytes| (bytes.as_ptr(), bytes.len()))
        })
    };
    let Some((start, len)) = bytes else {
        // SAFETY: the pointer is valid for the call.
        unsafe { *is_null = 1 };
        return ptr::null_mut();
    };
    // SAFETY: the pointer is valid for the call.
    unsafe { *length = len as c_ulong };
    // The server only reads it, though the type does not say so.
    start.cast_mut().cast()
}

/// `xxx_deinit`.
///
/// # Safety
/// The pointer is the server's, and `init` has run for the same `F`.
pub(crate) unsafe fn deinit<F: Function>(init: *mut UdfInit) {
    // SAFETY: the pointer is valid and ours for the call.
    let init = unsafe { &mut *init };
    let function = std::mem::replace(&mut init.ptr, ptr::null_mut()).cast::<F>();
    if function.is_null() {
        return;
    }
    // SAFETY: it came from Box::into_raw in init, and is dropped once, here.
    let function = unsafe { Box::from_raw(function) };
    if panic::catch_unwind(AssertUnwindSafe(|| drop(function))).is_err() {
        counters::drop_one(Reason::Panic);
    }
}

/// Calls the function, unless init panicked; a panic is counted and answered as a failure.
///
/// # Safety
/// As for [`integer`].
unsafe fn guarded<F: Function, T>(
    init: *mut UdfInit,
    args: *mut UdfArgs,
    call: impl FnOnce(&mut F, &Args<'_>) -> Option<T>,
) -> Option<T> {
    // SAFETY: the pointer is valid and ours for the call.
    let function = unsafe { (*init).ptr }.cast::<F>();
    // SAFETY: if it is not null, init put a boxed `F` there and nobody else uses it.
    let function = unsafe { function.as_mut() }?;
    // SAFETY: the pointer is valid for the call.
    let args = unsafe { &*args };
    // SAFETY: they are the server's.
    let args = unsafe { Args::new(args) };
    match panic::catch_unwind(AssertUnwindSafe(|| call(function, &args))) {
        Ok(answer) => answer,
        Err(_) => {
            counters::drop_one(Reason::Panic);
            None
        }
    }
}

/// A guest writes nothing on the server's stderr, not even when it panics. The hook belongs to this
/// library's own copy of the standard library.
static QUIET: Lazy<()> = Lazy::new(|| panic::set_hook(Box::new(|_| {})));

#[cfg(test)]
mod tests {
    use super::*;

    /// The arguments of a call as a server would pass them.
    struct Call {
        init: UdfInit,
        args: UdfArgs,
        message: [c_char; 512],
    }

    impl Call {
        fn new() -> Call {
            let init = UdfInit {
                maybe_null: false,
                decimals: 0,
                max_length: 0,
                ptr: ptr::null_mut(),
                const_item: true,
                extension: ptr::null_mut(),
            };
            let args = UdfArgs {
                arg_count: 0,
                arg_type: ptr::null_mut(),
                args: ptr::null_mut(),
                lengths: ptr::null_mut(),
                maybe_null: ptr::null_mut(),
                attributes: ptr::null_mut(),
                attribute_lengths: ptr::null_mut(),
                extension: ptr::null_mut(),
            };
            Call { init, args, message: [0; 512] }
        }

        fn init<F: Function>(&mut self) -> bool {
            // SAFETY: all three point at ours.
            unsafe { init::<F>(&mut self.init, &mut self.args, self.message.as_mut_ptr()) }
        }

        fn integer<F: IntegerFunction>(&mut self) -> i64 {
            // SAFETY: both point at ours, and init has run.
            unsafe { integer::<F>(&mut self.init, &mut self.args) }
        }

        fn deinit<F: Function>(&mut self) {
            // SAFETY: it points at ours, and init has run.
            unsafe { deinit::<F>(&mut self.init) }
        }
    }

    struct Panics;

    impl Function for Panics {
        fn init(_: &mut Args<'_>) -> Result<Self, &'static str> {
            Ok(Panics)
        }
    }

    impl IntegerFunction for Panics {
        fn call(&mut self, args: &Args<'_>) -> i64 {
            i64::from(args.bytes(7).is_some())
        }
    }

    struct PanicsAtOnce;

    impl Function for PanicsAtOnce {
        fn init(_: &mut Args<'_>) -> Result<Self, &'static str> {
            panic!("at once")
        }
    }

    impl IntegerFunction for PanicsAtOnce {
        fn call(&mut self, _: &Args<'_>) -> i64 {
            1
        }
    }

    #[test]
    fn a_panic_does_not_get_out() {
        let before = counters::dropped(Reason::Panic);
        let mut call = Call::new();
        assert!(!call.init::<Panics>());
        assert!(!call.init.const_item && call.init.maybe_null);
        assert_eq!(call.integer::<Panics>(), 0);
        call.deinit::<Panics>();
        let mut call = Call::new();
        assert!(!call.init::<PanicsAtOnce>());
        assert_eq!(call.integer::<PanicsAtOnce>(), 0);
        call.deinit::<PanicsAtOnce>();
        assert_eq!(counters::dropped(Reason::Panic), before + 2);
    }

    struct Refuses;

    impl Function for Refuses {
        fn init(_: &mut Args<'_>) -> Result<Self, &'static str> {
            Err("0123456789012345678901234567890123456789012345678901234567890123456789012345678901234")
        }
    }

    #[test]
    fn a_refusal_fits_where_it_is_shown() {
        let mut call = Call::new();
        assert!(call.init::<Refuses>());
        assert_eq!(call.message.iter().position(|&byte| byte == 0), Some(MESSAGE_MAX - 1));
        assert!(call.init.ptr.is_null());
    }
}
