//! selfsame-testkit
