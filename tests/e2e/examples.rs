//! The scripts in sql/examples do what they say.
