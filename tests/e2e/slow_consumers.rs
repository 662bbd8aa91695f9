//! Those who read too slowly are cut off, counted and logged; nobody waits for them.
