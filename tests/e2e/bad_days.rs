//! Bad days: the daemon is absent, stopped, killed or restarted, its socket is something else, a
//! statement is killed while it waits. No statement fails or waits longer than it may.
