//! tar archives: the dialect of dpkg for reading, one canonical form for writing.
