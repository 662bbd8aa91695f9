//! Reads the source: which files may be unsafe, who imports whom, names that must agree.
