pub fn cost_of_an_insert() {}
pub fn daemon_away() {}
pub fn round_trip() {}
