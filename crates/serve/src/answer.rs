//! From request to answer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use crate::body::Content;
use crate::range::{self, Part};
use crate::site::{Found, Look, Served, Site};

/// What is at a path never changes.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// Answers one request. `slow` limits how many answers that take work are made at a time.
pub(crate) async fn answer<T>(
    site: Arc<dyn Site>,
    slow: &Arc<Semaphore>,
    request: &Request<T>,
) -> Response<Content> {
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => match path(request.uri().path()) {
            Some(path) => respond(find(site, slow, path).await, request),
            None => said(StatusCode::BAD_REQUEST, "no path that can be read\n"),
        },
        _ => {
            let mut refused = said(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here\n");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            refused
        }
    };
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if request.method() == Method::HEAD && response.status() != StatusCode::NOT_MODIFIED {
        let length = hyper::body::Body::size_hint(response.body()).exact().unwrap_or(0);
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        *response.body_mut() = Content::none();
    }
    response
}

/// The path without its escapes.
fn path(raw: &str) -> Option<String> {
    let path = percent_encoding::percent_decode_str(raw).decode_utf8().ok()?;
    (path.starts_with('/') && !path.contains('\0')).then(|| path.into_owned())
}

async fn find(site: Arc<dyn Site>, slow: &Arc<Semaphore>, path: String) -> Found {
    let work = match site.look(&path) {
        Look::Now(found) => return found,
        Look::Later(work) => work,
    };
    // Held by the work itself, which goes on when its client has hung up. Never closed.
    let permit = Arc::clone(slow).acquire_owned().await;
    let work = move || {
        let _permit = permit;
        work()
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(found) => found,
        Err(_) => Found::Failed("an error in the server".to_owned()),
    }
}

fn respond<T>(found: Found, request: &Request<T>) -> Response<Content> {
    match found {
        Found::File(served) => file(served, request.headers(), request.method() == Method::GET),
        Found::Text(text) => said(StatusCode::OK, text),
        Found::Redirect(to) => {
            let mut response = said(StatusCode::FOUND, format!("{to}\n"));
            match HeaderValue::try_from(to) {
                Ok(to) => response.headers_mut().insert(header::LOCATION, to),
                Err(_) => return said(StatusCode::NOT_FOUND, "there is nothing of this name\n"),
            };
            response
        }
        Found::Missing => said(StatusCode::NOT_FOUND, "there is nothing of this name\n"),
        Found::Failed(why) => {
            let mut response = said(StatusCode::BAD_GATEWAY, format!("it cannot be had now: {why}\n"));
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
            response
        }
    }
}

/// A short text that is not to be kept.
fn said(status: StatusCode, text: impl Into<String>) -> Response<Content> {
    let mut response = Response::new(Content::text(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// A file, or a part of it: only GET knows parts.
fn file(served: Served, request: &HeaderMap, parts: bool) -> Response<Content> {
    let Served { file, size, digest, modified, kind } = served;
    let tag = format!("\"{digest}\"");
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(modified).unwrap_or(0));
    let asked = |name: HeaderName| request.get(name).and_then(|value| value.to_str().ok());
    let known = match asked(header::IF_NONE_MATCH) {
        Some(list) => range::matches(list, &tag),
        None => asked(header::IF_MODIFIED_SINCE).is_some_and(|time| range::unchanged(time, modified)),
    };
    let part = match asked(header::RANGE).filter(|_| parts) {
        Some(wanted) if asked(header::IF_RANGE).is_none_or(|same| range::same(same, &tag, modified)) => {
            range::part(wanted, size)
        }
        _ => Part::Whole,
    };
    let content_range = |text: String| HeaderValue::try_from(text).ok();
    let (status, content, range) = match part {
        _ if known => (StatusCode::NOT_MODIFIED, Content::none(), None),
        Part::Whole => (StatusCode::OK, Content::file(file, 0..size), None),
        Part::Bytes(part) => {
            let text = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            (StatusCode::PARTIAL_CONTENT, Content::file(file, part), content_range(text))
        }
        Part::Unsatisfiable => {
            let text = format!("bytes */{size}");
            (StatusCode::RANGE_NOT_SATISFIABLE, Content::none(), content_range(text))
        }
    };
    let mut response = Response::new(content);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(FOREVER));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let time = httpdate::fmt_http_date(modified);
    headers.extend(HeaderValue::try_from(time).ok().map(|time| (header::LAST_MODIFIED, time)));
    headers.extend(HeaderValue::try_from(tag).ok().map(|tag| (header::ETAG, tag)));
    headers.extend(range.map(|range| (header::CONTENT_RANGE, range)));
    response
}
