//! An array of bytes, in one piece.

use dbus::Signature;
use dbus::arg::{Append, Arg, ArgType, Get, Iter, IterAppend};

/// D-Bus' `ay`, as an argument and in a reply, copied in one piece. As a `Vec<u8>` it is read byte
/// by byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bytes(pub Vec<u8>);

impl Arg for Bytes {
    const ARG_TYPE: ArgType = ArgType::Array;

    fn signature() -> Signature<'static> {
        <&[u8]>::signature()
    }
}

impl Append for Bytes {
    fn append_by_ref(&self, args: &mut IterAppend<'_>) {
        (&self.0[..]).append_by_ref(args);
    }
}

impl<'a> Get<'a> for Bytes {
    fn get(args: &mut Iter<'a>) -> Option<Self> {
        <&[u8]>::get(args).map(|bytes| Bytes(bytes.to_vec()))
    }
}
