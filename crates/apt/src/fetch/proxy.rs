//! Plain HTTP through a proxy, the way apt does it.
//!
//! ureq asks proxies to `CONNECT`. For `http:` most of them refuse that, and the caching ones could not cache. What they
//! want is the absolute form of the request line (RFC 9112, section 3.2.2), so this connects to the proxy instead of the
//! host and writes the line anew.

use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, config::Config};

/// Answers every question with the address of the proxy.
#[derive(Debug)]
pub(crate) struct ProxyResolver {
    pub(crate) inner: DefaultResolver,
    pub(crate) proxy: Uri,
}

impl Resolver for ProxyResolver {
    fn resolve(&self, _: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        self.inner.resolve(&self.proxy, config, timeout)
    }
}

/// Puts [`AbsoluteForm`] around the connection to the proxy.
#[derive(Debug)]
pub(crate) struct ForwardProxy;

impl<In: Transport> Connector<In> for ForwardProxy {
    type Out = AbsoluteForm<In>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let authority = details.uri.authority().ok_or_else(|| Error::BadUri(details.uri.to_string()))?;
        let prefix = format!("http://{authority}");
        Ok(chained.map(|inner| AbsoluteForm { inner, prefix }))
    }
}

/// A connection to a proxy that carries requests to one host.
#[derive(Debug)]
pub(crate) struct AbsoluteForm<In> {
    inner: In,
    /// Scheme and authority that go before the path.
    prefix: String,
}

impl<In: Transport> Transport for AbsoluteForm<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        // Requests have no bodies here and their heads are far smaller than the buffer, so each call is one head.
        let output = self.inner.buffers().output();
        let Some(path) = output.get(..amount).and_then(|head| head.strip_prefix(b"GET ")) else {
            return Err(Error::BadUri(self.prefix.clone()));
        };
        let head = [b"GET ", self.prefix.as_bytes(), path].concat();
        let Some(room) = output.get_mut(..head.len()) else {
            return Err(Error::BadUri(self.prefix.clone()));
        };
        room.copy_from_slice(&head);
        self.inner.transmit_output(head.len(), timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}
