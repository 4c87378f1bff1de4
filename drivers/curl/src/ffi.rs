//! All that is unsafe here: a socket that is libcurl's, and two options that the crate `curl`
//! leaves out.
#![allow(unsafe_code)]

use std::ffi::c_long;

use curl::Error;
use curl::easy::Easy2;
use curl::multi::Socket;
use curl_sys::{CURLPROTO_HTTP, CURLPROTO_HTTPS, CURLoption};
use ioloop::Lent;

/// `CURLOPT_SUPPRESS_CONNECT_HEADERS`, of libcurl 7.54.
const SUPPRESS_CONNECT_HEADERS: CURLoption = curl_sys::CURLOPTTYPE_LONG + 265;

/// A socket of libcurl's, as what a loop watches.
///
/// Only the socket callback calls this, and only [`Sockets`](crate::sockets::Sockets) keeps what is
/// made of it.
pub(crate) fn lend(socket: Socket) -> Lent {
    // SAFETY: libcurl takes a socket back through its callback before it closes it, and the watch
    // ends within that call. One that it closes without a word is watched anew under its number, or
    // never called: `Watch::resume` tells them apart. What it closes when it is cleaned up is not
    // watched any more: see `Driver::drop`.
    unsafe { Lent::new(socket) }
}

/// Has a handle speak HTTP and nothing else, after a redirect too, and keeps to itself what a proxy
/// says before the server does.
pub(crate) fn http_only<H>(easy: &Easy2<H>) -> Result<(), Error> {
    let protocols = c_long::from(CURLPROTO_HTTP | CURLPROTO_HTTPS);
    set(easy, curl_sys::CURLOPT_PROTOCOLS, protocols)?;
    set(easy, curl_sys::CURLOPT_REDIR_PROTOCOLS, protocols)?;
    set(easy, SUPPRESS_CONNECT_HEADERS, 1)
}

fn set<H>(easy: &Easy2<H>, option: CURLoption, value: c_long) -> Result<(), Error> {
    // SAFETY: the handle is alive while it is borrowed; each of the options above takes a `long`,
    // and none of them keeps a pointer.
    match unsafe { curl_sys::curl_easy_setopt(easy.raw(), option, value) } {
        curl_sys::CURLE_OK => Ok(()),
        code => Err(Error::new(code)),
    }
}
