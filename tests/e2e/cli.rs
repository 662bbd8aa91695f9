//! The `rowcall` command as a person or a script uses it: listen, notify, request, reply.
