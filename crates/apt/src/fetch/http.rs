//! One HTTP request: redirections, limits, and what of the answer matters.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, BodyReader, Error, Proxy, Timeout};

use crate::fetch::config::{FetchConfig, Roots, Secret};
use crate::fetch::error::{FetchError, Reason};
use crate::fetch::hosts::{Hosts, Permit};
use crate::fetch::objects::Body;
use crate::fetch::proxy::{ForwardProxy, ProxyResolver};
use crate::fetch::url::Place;
use crate::mirrors::{BadMirror, Mirror, Scheme, UrlFault, host_of};

/// How many redirections are followed: apt's own limit is 10, archives need 1 or 2.
const REDIRECTS: u32 = 5;

/// Bodies of answers that are no files are read up to this size, so that the connection can be used again.
const POLITE: u64 = 1 << 16;

/// Makes requests.
#[derive(Debug)]
pub(crate) struct Client {
    direct: Agent,
    /// For `http:` through its proxy.
    http_proxied: Option<Agent>,
    /// For `https:` through its proxy.
    https_proxied: Option<Agent>,
    no_proxy: Vec<String>,
    authorization: Option<Secret>,
    stall: Duration,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    /// An absolute URL of a mirror.
    pub(crate) url: &'a str,
    /// First byte that is wanted.
    pub(crate) from: u64,
    /// The strong entity tag that the first bytes came with, if they came from there.
    pub(crate) etag: Option<&'a str>,
    /// Whether caches on the way should look for something newer.
    pub(crate) fresh: bool,
    /// When everything has to be over.
    pub(crate) deadline: Option<Instant>,
}

/// An answer, its body still to come.
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    /// `Content-Length`.
    pub(crate) length: Option<u64>,
    /// First byte and total size of a `Content-Range`.
    pub(crate) range: Option<(u64, Option<u64>)>,
    /// A strong entity tag.
    pub(crate) etag: Option<String>,
    /// `Retry-After` in seconds. The form with a date is not understood, and waiting falls back to the usual pauses.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: BodyReader<'static>,
    /// The right to have this connection; ends with the reply.
    _permit: Permit<'a>,
}

impl Client {
    pub(crate) fn new(config: &FetchConfig) -> Result<Self, FetchError> {
        let http = config.http_proxy.as_deref().map(|proxy| forwarding_agent(config, proxy));
        let https = config.https_proxy.as_deref().map(|proxy| connecting_agent(config, proxy));
        Ok(Self {
            direct: agent_config(config, None)?.into(),
            http_proxied: http.transpose()?,
            https_proxied: https.transpose()?,
            no_proxy: config.no_proxy.iter().map(|host| host.to_ascii_lowercase()).collect(),
            authorization: config.authorization.clone(),
            stall: config.stall_timeout,
        })
    }

    /// Asks, and follows where it is sent. The permit must be for the host of the URL; it is exchanged when another host
    /// is asked, so that no host ever sees more connections than it should.
    pub(crate) fn get<'a>(
        &self,
        hosts: &'a Hosts,
        permit: Permit<'a>,
        ask: &Ask,
    ) -> Result<Reply<'a>, Reason> {
        let mut place = Place::parse(ask.url).ok_or(Reason::BadRedirect { to: ask.url.to_owned() })?;
        let mut permit = permit;
        let mut authorization = self.authorization.as_ref();
        for _ in 0..=REDIRECTS {
            let (status, headers, body) = self.once(&place, ask, authorization)?;
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Ok(reply(status, &headers, body, permit));
            }
            let location = headers.get("location").and_then(|value| value.to_str().ok()).unwrap_or_default();
            let next = place.redirected(location)?;
            discard(body);
            if host_of(&next.authority) != host_of(&place.authority) {
                drop(permit);
                permit = hosts.wait(host_of(&next.authority), ask.deadline).ok_or(Reason::Deadline)?;
            }
            authorization =
                authorization.filter(|_| (next.tls, &next.authority) == (place.tls, &place.authority));
            place = next;
        }
        Err(Reason::RedirectLoop { limit: REDIRECTS })
    }

    fn once(
        &self,
        place: &Place,
        ask: &Ask,
        authorization: Option<&Secret>,
    ) -> Result<(u16, HeaderMap, BodyReader<'static>), Reason> {
        let left = ask.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Reason::Deadline);
        }
        let mut request = self.agent(place).get(place.url());
        if let Some(secret) = authorization {
            request = request.header("Authorization", secret.reveal());
        }
        if ask.from > 0 {
            request = request.header("Range", format!("bytes={}-", ask.from));
            if let Some(etag) = ask.etag {
                request = request.header("If-Range", etag);
            }
        }
        if ask.fresh {
            request = request.header("Cache-Control", "max-age=0");
        }
        let request = request.config().timeout_global(left).build();
        let (parts, body) = request.call().map_err(|error| self.reason(error))?.into_parts();
        Ok((parts.status.as_u16(), parts.headers, body.into_reader()))
    }

    /// A `HEAD` (without `body`) or `PUT` of `url`; status and `Content-Length` of the answer. Redirections are not followed.
    ///
    /// Does not use a proxy for `http:`, which is only spoken to in requests to read (see [`ForwardProxy`]).
    pub(crate) fn touch(
        &self,
        url: &str,
        body: Option<Body<'_>>,
        limit: Duration,
    ) -> Result<(u16, Option<u64>), Reason> {
        let place = Place::parse(url).ok_or(Reason::BadRedirect { to: url.to_owned() })?;
        let agent = if place.tls { self.agent(&place) } else { &self.direct };
        let secret = self.authorization.as_ref().map(Secret::reveal);
        let answer = match body {
            None => {
                let request = agent.head(place.url());
                let request = secret.into_iter().fold(request, |all, one| all.header("Authorization", one));
                request.config().timeout_global(Some(limit)).build().call()
            }
            Some(body) => {
                let request = agent.put(place.url()).header("Content-Type", "application/octet-stream");
                let request = secret.into_iter().fold(request, |all, one| all.header("Authorization", one));
                let request = request.config().timeout_global(Some(limit)).build();
                match body {
                    Body::Bytes(bytes) => request.send(bytes),
                    Body::File(file) => request.send(file),
                }
            }
        };
        let (parts, body) = answer.map_err(|error| self.reason(error))?.into_parts();
        let length =
            parts.headers.get("content-length").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        discard(body.into_reader());
        Ok((parts.status.as_u16(), length))
    }

    fn agent(&self, place: &Place) -> &Agent {
        let host = host_of(&place.authority);
        let excepted = |name: &String| {
            let name = name.trim_start_matches('.');
            name == "*" || host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let proxied = if place.tls { &self.https_proxied } else { &self.http_proxied };
        match proxied {
            Some(agent) if !self.no_proxy.iter().any(excepted) => agent,
            _ => &self.direct,
        }
    }

    /// What a failed request means. The texts of the library are kept where they tell more than a kind would.
    pub(crate) fn reason(&self, error: Error) -> Reason {
        match error {
            Error::Timeout(Timeout::Global | Timeout::PerCall) => Reason::Deadline,
            Error::Timeout(Timeout::Resolve) => Reason::NoSuchHost,
            Error::Timeout(Timeout::Connect) => Reason::Connection(io::ErrorKind::TimedOut),
            Error::Timeout(_) => Reason::Stalled(self.stall),
            Error::Io(error) => connection_reason(&error),
            Error::HostNotFound => Reason::NoSuchHost,
            Error::ConnectionFailed => Reason::Connection(io::ErrorKind::NotConnected),
            Error::Tls(text) => Reason::Tls(text.to_owned()),
            Error::Rustls(error) => Reason::Tls(error.to_string()),
            Error::ConnectProxyFailed(text) => Reason::Proxy(text),
            other => Reason::Protocol(other.to_string()),
        }
    }

    /// What an error in the middle of a body means.
    pub(crate) fn body_reason(&self, error: io::Error, truncated: Reason) -> Reason {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => truncated,
            _ => self.reason(Error::from(error)),
        }
    }
}

/// TLS errors come as I/O errors once the connection is up, and errors of the resolver have no kind of their own.
fn connection_reason(error: &io::Error) -> Reason {
    match error.get_ref() {
        _ if error.to_string().starts_with("failed to lookup address") => Reason::NoSuchHost,
        Some(inner) if error.kind() == io::ErrorKind::InvalidData => Reason::Tls(inner.to_string()),
        _ => Reason::Connection(error.kind()),
    }
}

fn reply<'a>(status: u16, headers: &HeaderMap, body: BodyReader<'static>, permit: Permit<'a>) -> Reply<'a> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let strong = |tag: &&str| tag.starts_with('"') && tag.len() <= 200;
    Reply {
        status,
        length: text("content-length").and_then(|value| value.parse().ok()),
        range: text("content-range").and_then(content_range),
        etag: text("etag").filter(strong).map(str::to_owned),
        retry_after: text("retry-after").and_then(|value| value.parse().ok()).map(Duration::from_secs),
        body,
        _permit: permit,
    }
}

impl Reply<'_> {
    /// Reads what is left of a body that nobody wants.
    pub(crate) fn discard(self) {
        discard(self.body);
    }
}

fn discard(body: BodyReader<'static>) {
    // Whatever goes wrong here only costs the connection.
    let _ = io::copy(&mut body.take(POLITE), &mut io::sink());
}

/// `bytes 100-199/200` gives 100 and 200.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first.parse().ok()?, total))
}

/// The settings of an agent. The library would look for proxies in the environment if `proxy` were left to it.
fn agent_config(config: &FetchConfig, proxy: Option<Proxy>) -> Result<ureq::config::Config, FetchError> {
    let roots = match &config.roots {
        Roots::BuiltIn => RootCerts::WebPki,
        Roots::Only(pem) => {
            let certs: Result<Vec<_>, _> = parse_pem(pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(cert)) => Some(Ok(cert)),
                    Ok(_) => None,
                    Err(error) => Some(Err(FetchError::BadRoots(error.to_string()))),
                })
                .collect();
            let certs = certs?;
            if certs.is_empty() {
                return Err(FetchError::BadRoots("there is none".to_owned()));
            }
            RootCerts::new_with_certs(&certs)
        }
    };
    let per_host = config.per_host();
    Ok(Agent::config_builder()
        .proxy(proxy)
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(header_text(&config.user_agent))
        .accept_encoding("identity")
        .timeout_resolve(Some(config.stall_timeout))
        .timeout_connect(Some(config.stall_timeout))
        .timeout_send_request(Some(config.stall_timeout))
        .timeout_recv_response(Some(config.stall_timeout))
        .timeout_per_read(Some(config.stall_timeout))
        .max_idle_connections_per_host(per_host)
        .max_idle_connections(4 * per_host)
        .build())
}

/// The URL of a proxy, checked.
fn proxy_url(proxy: &str) -> Result<Mirror, FetchError> {
    let mirror = Mirror::parse(proxy).map_err(FetchError::BadProxy)?;
    if mirror.scheme() == Scheme::Http { Ok(mirror) } else { Err(bad_proxy(proxy, UrlFault::Scheme)) }
}

fn bad_proxy(proxy: &str, fault: UrlFault) -> FetchError {
    FetchError::BadProxy(BadMirror { url: proxy.chars().take(200).collect(), fault })
}

/// For `http:`: what is asked of the proxy is the absolute form.
fn forwarding_agent(config: &FetchConfig, proxy: &str) -> Result<Agent, FetchError> {
    let uri: Uri = proxy_url(proxy)?.as_str().parse().map_err(|_| bad_proxy(proxy, UrlFault::Host))?;
    Ok(Agent::with_parts(
        agent_config(config, None)?,
        ().chain(TcpConnector::default()).chain(ForwardProxy),
        ProxyResolver { inner: DefaultResolver::default(), proxy: uri },
    ))
}

/// For `https:`: the proxy is asked to connect, and sees nothing of what follows.
fn connecting_agent(config: &FetchConfig, proxy: &str) -> Result<Agent, FetchError> {
    let connect = Proxy::new(proxy_url(proxy)?.as_str()).map_err(|_| bad_proxy(proxy, UrlFault::Host))?;
    Ok(agent_config(config, Some(connect))?.into())
}

/// What a header can carry of `text`; the library panics on the rest.
fn header_text(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 100-199/200"), Some((100, Some(200))));
        assert_eq!(content_range("bytes 0-0/*"), Some((0, None)));
        for bad in
            ["", "bytes */200", "bytes 1-2", "octets 1-2/3", "bytes x-2/3", "bytes 1-2/99999999999999999999"]
        {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn proxies_are_http_urls_without_passwords() {
        let client = |proxy: &str| {
            let one = Some(proxy.to_owned());
            let http = FetchConfig { http_proxy: one.clone(), ..FetchConfig::default() };
            let https = FetchConfig { https_proxy: one, ..FetchConfig::default() };
            Client::new(&http).and_then(|_| Client::new(&https)).map(drop)
        };
        client("http://proxy.example:3142/").unwrap();
        for bad in [
            "socks5://proxy.example",
            "https://proxy.example",
            "proxy.example:3142",
            "http://u:p@proxy.example",
        ] {
            assert!(matches!(client(bad), Err(FetchError::BadProxy(_))), "{bad}");
        }
    }

    #[test]
    fn certificates_are_needed_where_they_are_given() {
        let client = |pem: &[u8]| {
            Client::new(&FetchConfig { roots: Roots::Only(pem.to_vec()), ..FetchConfig::default() }).map(drop)
        };
        assert!(matches!(client(b""), Err(FetchError::BadRoots(_))));
        assert!(matches!(client(b"-----BEGIN CERTIFICATE-----\n!\n"), Err(FetchError::BadRoots(_))));
    }
}
