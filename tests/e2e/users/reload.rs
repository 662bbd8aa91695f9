//! SIGHUP: users, permissions and limits change, and nobody is dropped who may stay.
