//! selfsame-store
