//! rowcall_request: a trigger or a session asks, and gets its answer or a reason within its time.
