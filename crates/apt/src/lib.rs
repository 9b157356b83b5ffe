//! selfsame-apt
