//! Debian binary packages: `deb(5)` on top of [`crate::ar`], [`crate::codec`] and [`crate::tar`].
