//! What a client sends. The first byte says which limits there are and where the rest is cut.
//!
//! - No input makes the parser panic, or take nothing, or more than there is.
//! - The first part of an input never contradicts the whole: what was an operation stays one, what was
//!   refused stays refused, and "not yet, at least so many bytes" is never too many.
//! - A message that was understood, written down again, is the same message; and the MSG that it becomes
//!   is understood by [`server_op`].

#![no_main]

use libfuzzer_sys::fuzz_target;
use rowcall_wire::parse::{ClientOp, Limits, ServerOp, Step, client_op, server_op};
use rowcall_wire::{Message, encode};

fuzz_target!(|input: &[u8]| {
    let Some((&choice, mut input)) = input.split_first() else { return };
    let limits = Limits { control_line: 64, payload: 128, headers: choice & 1 == 1 };
    while !input.is_empty() {
        let whole = client_op(input, &limits);
        let cut = &input[..usize::from(choice >> 1) % input.len()];
        match (client_op(cut, &limits), &whole) {
            (Ok(Step::Op(op, used)), whole) => assert_eq!(whole, &Ok(Step::Op(op, used))),
            (Ok(Step::More(least)), Ok(Step::Op(_, used))) => assert!(cut.len() < least && least <= *used),
            (Ok(Step::More(least)), _) => assert!(cut.len() < least),
            (Err(_), whole) => assert!(whole.is_err(), "{whole:?}"),
        }
        let Ok(Step::Op(op, used)) = whole else { return };
        assert!(0 < used && used <= input.len());
        if let ClientOp::Pub(message) | ClientOp::Hpub(message) = op {
            written_down_again(&message);
        }
        input = &input[used..];
    }
});

fn written_down_again(message: &Message<'_>) {
    let wide = Limits { control_line: 256, payload: 128, headers: true };
    let mut out = Vec::new();
    encode::publish(&mut out, message);
    match client_op(&out, &wide) {
        Ok(Step::Op(ClientOp::Pub(again) | ClientOp::Hpub(again), used)) => {
            assert_eq!((&again, used), (message, out.len()));
        }
        other => panic!("{message:?} became {other:?}"),
    }
    let mut out = Vec::new();
    encode::msg_line(&mut out, b"sid", message);
    out.extend_from_slice(message.body);
    out.extend_from_slice(b"\r\n");
    let expected = ServerOp::Msg { sid: b"sid", message: *message };
    assert_eq!(server_op(&out, &wide), Ok(Step::Op(expected, out.len())));
}
