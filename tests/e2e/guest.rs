//! The rules a guest keeps inside the server that can be looked at from outside: what the library
//! needs and exports, and the life of its functions.
