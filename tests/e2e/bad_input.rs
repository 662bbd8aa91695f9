//! Bad input from SQL: whatever is passed, the statement goes on and the reason is counted.
