//! The exported C names: three for each function, shells of a line. What the functions mean stands
//! in call.rs, what the shells do in abi.rs.
//!
//! This is a door for `unsafe`: the server calls these with its own pointers, as abi.rs says.
#![allow(unsafe_code)]

use crate::abi::{self, UdfArgs, UdfInit};
use crate::call::{Collect, Emit, LastError, Listen, Notify, Poke, Request, Status, Submit, Version};
use std::ffi::{c_char, c_longlong, c_ulong};

/// `name_init` and `name_deinit`, which are alike for every function.
macro_rules! frame {
    ($function:ty, $init:ident, $deinit:ident) => {
        /// # Safety
        /// Only the server calls it, as it promises.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $init(init: *mut UdfInit, args: *mut UdfArgs, message: *mut c_char) -> bool {
            // SAFETY: the server's promise is passed on.
            unsafe { abi::init::<$function>(init, args, message) }
        }

        /// # Safety
        /// Only the server calls it, as it promises.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $deinit(init: *mut UdfInit) {
            // SAFETY: the server's promise is passed on.
            unsafe { abi::deinit::<$function>(init) }
        }
    };
}

/// A function that RETURNS INTEGER.
macro_rules! integer {
    ($function:ty: $init:ident, $call:ident, $deinit:ident) => {
        frame!($function, $init, $deinit);

        /// # Safety
        /// Only the server calls it, as it promises.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $call(
            init: *mut UdfInit,
            args: *mut UdfArgs,
            _is_null: *mut u8,
            _error: *mut u8,
        ) -> c_longlong {
            // SAFETY: the server's promise is passed on.
            unsafe { abi::integer::<$function>(init, args) }
        }
    };
}

/// A function that RETURNS STRING.
macro_rules! text {
    ($function:ty: $init:ident, $call:ident, $deinit:ident) => {
        frame!($function, $init, $deinit);

        /// # Safety
        /// Only the server calls it, as it promises.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $call(
            init: *mut UdfInit,
            args: *mut UdfArgs,
            _result: *mut c_char,
            length: *mut c_ulong,
            is_null: *mut u8,
            _error: *mut u8,
        ) -> *mut c_char {
            // SAFETY: the server's promise is passed on.
            unsafe { abi::text::<$function>(init, args, length, is_null) }
        }
    };
}

integer!(Notify: rowcall_notify_init, rowcall_notify, rowcall_notify_deinit);
integer!(Emit: rowcall_emit_init, rowcall_emit, rowcall_emit_deinit);
text!(Request: rowcall_request_init, rowcall_request, rowcall_request_deinit);
text!(Submit: rowcall_submit_init, rowcall_submit, rowcall_submit_deinit);
text!(Collect: rowcall_result_init, rowcall_result, rowcall_result_deinit);
text!(Listen: rowcall_wait_init, rowcall_wait, rowcall_wait_deinit);
integer!(Poke: rowcall_poke_init, rowcall_poke, rowcall_poke_deinit);
text!(LastError: rowcall_last_error_init, rowcall_last_error, rowcall_last_error_deinit);
text!(Status: rowcall_status_init, rowcall_status, rowcall_status_deinit);
text!(Version: rowcall_version_init, rowcall_version, rowcall_version_deinit);
