//! Real input: sysbench's OLTP load against tables whose triggers emit, with an official client
//! listening, and every firing accounted for.
