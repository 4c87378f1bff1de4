//! libcurl's callbacks for one transfer: they note in its exchange what has happened.

use std::fmt;
use std::io::SeekFrom;
use std::rc::Rc;

use curl::easy::{Handler, ReadError, SeekResult, WriteError};

use crate::exchange::{Exchange, Written};
use crate::request::Progress;

/// What libcurl calls for one transfer; opaque, the type parameter of an [`Easy`](crate::Easy).
#[derive(Default)]
pub struct Callbacks {
    /// None between two transfers.
    pub(crate) exchange: Option<Rc<Exchange>>,
}

impl Handler for Callbacks {
    fn header(&mut self, line: &[u8]) -> bool {
        if let Some(exchange) = &self.exchange {
            exchange.header(line);
        }
        true
    }

    fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        match self.exchange.as_ref().map(|exchange| exchange.write(data)) {
            None | Some(Written::Taken) => Ok(data.len()),
            Some(Written::HeldBack) => Err(WriteError::Pause),
            // Any number but the length ends the transfer.
            Some(Written::Refused) => Ok(data.len() + 1),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        match &self.exchange {
            Some(exchange) => exchange.read(buffer).ok_or(ReadError::Pause),
            None => Err(ReadError::Abort),
        }
    }

    fn seek(&mut self, to: SeekFrom) -> SeekResult {
        match (&self.exchange, to) {
            (Some(exchange), SeekFrom::Start(to)) if exchange.rewind(to) => SeekResult::Ok,
            _ => SeekResult::CantSeek,
        }
    }

    fn progress(&mut self, down_total: f64, down: f64, up_total: f64, up: f64) -> bool {
        if let Some(exchange) = &self.exchange {
            // libcurl counts in `double`s, where zero is what it does not know.
            let total = |total: f64| (total > 0.0).then_some(total as u64);
            exchange.progress(Progress {
                downloaded: down as u64,
                download_total: total(down_total),
                uploaded: up as u64,
                upload_total: total(up_total),
            });
        }
        true
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").finish_non_exhaustive()
    }
}
