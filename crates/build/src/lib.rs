//! selfsame-build
