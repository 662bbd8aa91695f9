//! `rowcall install` and `rowcall uninstall` on real servers.
