//! What SQL may do, and who may use the Unix socket.
