//! What is asked, and what is found.

use std::net::{IpAddr, SocketAddr};

use crate::error::Error;
use crate::message::{Record, Type};

/// Which addresses are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `A` records.
    V4,
    /// `AAAA` records.
    V6,
    /// Both.
    Any,
}

/// A question; those that are equal are asked once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Addresses(String, Family),
    Records(String, Type),
    Names(IpAddr),
}

impl Key {
    /// The address that is looked up, where the name is one of that family already.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        let Key::Addresses(name, family) = self else { return None };
        name.parse().ok().filter(|address: &IpAddr| match family {
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
            Family::Any => true,
        })
    }

    /// What is looked up.
    pub(crate) fn name(&self) -> String {
        match self {
            Key::Addresses(name, _) | Key::Records(name, _) => name.clone(),
            Key::Names(address) => address.to_string(),
        }
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) enum Answers {
    Addresses(Vec<SocketAddr>),
    Records(Vec<Record>),
    Names(Vec<String>),
}

/// What became of a question.
pub(crate) type Found = Result<Answers, Error>;
