//! MySQL 5.6, an old binary interface: the instant functions work there too.
