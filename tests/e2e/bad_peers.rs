//! Bad peers of the daemon: garbage, half lines, huge lengths, one byte at a time. That one
//! connection is closed with the words clients know, and the others are served.
