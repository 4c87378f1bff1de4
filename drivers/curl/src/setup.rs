//! A request as options of libcurl's.

use std::rc::{Rc, Weak};
use std::time::Duration;

use curl::easy::List;
use ioloop::Reactor;

use crate::driver::Driver;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::ffi;
use crate::request::{Easy, Prepared};
use crate::upload::{Payload, Source, feed};

/// How many bytes libcurl reads at once, into a buffer that all transfers of a client share. With its
/// own 16 KiB, a download of half a MiB takes 33 system calls to read.
const READ: usize = 64 * 1024;

/// What libcurl counts in milliseconds: to it, none of them is no limit.
const SHORTEST: Duration = Duration::from_millis(1);
/// A month, nearly.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// Makes `easy` the request that was prepared, with its body ready to be read.
pub(crate) fn set_up(
    easy: &mut Easy,
    prepared: Prepared,
    exchange: &Rc<Exchange>,
    reactor: &Rc<dyn Reactor>,
    driver: &Weak<Driver>,
) -> Result<(), Error> {
    let refused =
        |reason: &str| Error::Request { url: prepared.url.clone(), reason: reason.to_owned() };
    if !is_token(&prepared.method) {
        return Err(refused("the method is not one of HTTP's"));
    }
    for (name, value) in &prepared.headers {
        if !is_token(name) {
            return Err(refused(&format!("{name:?} is not the name of a header")));
        }
        if value.as_deref().unwrap_or_default().contains(['\r', '\n', '\0']) {
            return Err(refused(&format!("the header {name} has a line break in it")));
        }
    }
    if prepared.url.contains('\0') {
        return Err(refused("the URL has a NUL in it"));
    }
    let has_progress = exchange.state.borrow().calls.on_progress.is_some();
    let url = prepared.url.clone();
    let payload = options(easy, prepared, has_progress);
    let payload = payload.map_err(|error| Error::Curl { url, error })?;
    let mut state = exchange.state.borrow_mut();
    match payload {
        Payload::None => {}
        Payload::Bytes(bytes) => state.source = Source::bytes(bytes),
        Payload::Stream(stream, length) => {
            state.source = Source::stream();
            drop(state);
            let feeding = feed(Weak::clone(driver), Rc::clone(exchange), stream, length);
            let task = ioloop::spawn(reactor, feeding).cancel_on_drop();
            exchange.state.borrow_mut().feeding = Some(task);
        }
    }
    Ok(())
}

/// Sets the options, and gives back the body that is to be read.
fn options(
    easy: &mut Easy,
    prepared: Prepared,
    has_progress: bool,
) -> Result<Payload, curl::Error> {
    let Prepared { method, url, headers, payload, redirects, max_body, configure, .. } = prepared;
    ffi::http_only(easy)?;
    easy.buffer_size(READ)?;
    easy.url(&url)?;
    let length = match &payload {
        Payload::None => Some(0),
        Payload::Bytes(bytes) => Some(bytes.len() as u64),
        Payload::Stream(_, length) => *length,
    };
    // What these are called matters where a redirect changes a POST to a GET.
    match (method.as_str(), &payload) {
        ("GET", Payload::None) => easy.get(true)?,
        ("HEAD", Payload::None) => easy.nobody(true)?,
        ("POST", _) => {
            easy.post(true)?;
            if let Some(length) = length {
                easy.post_field_size(length)?;
            }
        }
        ("PUT", _) => easy.upload(true)?,
        (method, Payload::None) => easy.custom_request(method)?,
        (method, _) => {
            easy.upload(true)?;
            easy.custom_request(method)?;
        }
    }
    if let Some(length) = length {
        easy.in_filesize(length)?;
    }
    let mut list = List::new();
    for (name, value) in &headers {
        // libcurl leaves out a header without a value, unless it is written with a semicolon.
        list.append(&match value.as_deref() {
            None => format!("{name}:"),
            Some("") => format!("{name};"),
            Some(value) => format!("{name}: {value}"),
        })?;
    }
    let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if method == "POST" && !has_type {
        // libcurl would call it a form.
        list.append("Content-Type:")?;
    }
    easy.http_headers(list)?;
    if redirects > 0 {
        easy.follow_location(true)?;
        easy.max_redirections(redirects)?;
    }
    if let Some(timeout) = prepared.connect_timeout {
        easy.connect_timeout(timeout.clamp(SHORTEST, LONGEST))?;
    }
    if let Some(timeout) = prepared.timeout {
        easy.timeout(timeout.clamp(SHORTEST, LONGEST))?;
    }
    if let Some((bytes_per_second, duration)) = prepared.low_speed {
        easy.low_speed_limit(bytes_per_second)?;
        easy.low_speed_time(duration.clamp(Duration::from_secs(1), LONGEST))?;
    }
    if max_body != u64::MAX {
        // One that says its length is refused before it comes.
        easy.max_filesize(max_body)?;
    }
    if let Some(version) = prepared.version {
        easy.http_version(version)?;
    }
    if prepared.compressed {
        easy.accept_encoding("")?;
    }
    easy.progress(has_progress)?;
    for configure in configure {
        configure(easy)?;
    }
    Ok(payload)
}

/// Whether it can be a method, or the name of a header.
fn is_token(word: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !word.is_empty() && word.bytes().all(is_part)
}
