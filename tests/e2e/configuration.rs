//! rowcalld's flags, environment and file; what is wrong is refused at start with its place.
