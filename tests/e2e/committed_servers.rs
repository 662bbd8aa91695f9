//! Committed mode on servers in difficult conditions.
