//! Unix `ar` archives in the dialect of `deb(5)`.
