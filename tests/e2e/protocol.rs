//! The NATS client protocol by hand. Each script runs against rowcalld, on TCP and on its Unix
//! socket, and against Debian's nats-server: all must say the same.
