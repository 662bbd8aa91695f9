//! What a server sends: to the library inside mysqld, and to the command. The first byte says where the
//! rest is cut.
//!
//! - No input makes the parser panic, or take nothing, or more than there is.
//! - The first part of an input never contradicts the whole, as for [`client_op`].
//! - A message that was understood, written down again, is the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rowcall_wire::encode;
use rowcall_wire::parse::{Limits, ServerOp, Step, server_op};

fuzz_target!(|input: &[u8]| {
    let Some((&choice, mut input)) = input.split_first() else { return };
    let limits = Limits { control_line: 64, payload: 128, headers: true };
    while !input.is_empty() {
        let whole = server_op(input, &limits);
        let cut = &input[..usize::from(choice) % input.len()];
        match (server_op(cut, &limits), &whole) {
            (Ok(Step::Op(op, used)), whole) => assert_eq!(whole, &Ok(Step::Op(op, used))),
            (Ok(Step::More(least)), Ok(Step::Op(_, used))) => assert!(cut.len() < least && least <= *used),
            (Ok(Step::More(least)), _) => assert!(cut.len() < least),
            (Err(_), whole) => assert!(whole.is_err(), "{whole:?}"),
        }
        let Ok(Step::Op(op, used)) = whole else { return };
        assert!(0 < used && used <= input.len());
        if let ServerOp::Msg { sid, message } = &op {
            let wide = Limits { control_line: 256, ..limits };
            let mut out = Vec::new();
            encode::msg_line(&mut out, sid, message);
            out.extend_from_slice(message.body);
            out.extend_from_slice(b"\r\n");
            let length = out.len();
            assert_eq!(server_op(&out, &wide), Ok(Step::Op(op, length)));
        }
        input = &input[used..];
    }
});
