//! The future of a reply.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ioloop::{Resolver, Task, deferred};

use crate::convert::FromReply;
use crate::error::Error;
use crate::reply::Reply;

/// Who is given a reply.
pub(crate) type Asker = Resolver<Result<Reply, Error>>;

/// The future of a reply, as a type of your choice; any executor may await it.
///
/// The command is on its way already, whether or not this is polled.
///
/// # Cancel safety
///
/// Dropping it takes nothing back: the server does what it was asked, and the reply is thrown away
/// when it arrives. Another command never gets it.
#[must_use = "the reply is lost if nobody awaits it"]
pub struct Answer<T = Reply> {
    reply: Task<Result<Reply, Error>>,
    wanted: PhantomData<fn() -> T>,
}

impl<T> Answer<T> {
    pub(crate) fn new() -> (Asker, Self) {
        let (asker, reply) = deferred();
        (asker, Answer { reply, wanted: PhantomData })
    }

    /// One that is known already.
    pub(crate) fn known(reply: Result<Reply, Error>) -> Self {
        let (asker, answer) = Self::new();
        give(Some(asker), reply);
        answer
    }

    /// The same reply, as another type.
    ///
    /// ```no_run
    /// # use ioloop_hiredis::{Client, Error};
    /// # async fn get(client: Client<ioloop::IOLoop>) -> Result<(), Error> {
    /// let visits: i64 = client.command(["INCR", "visits"]).to().await?;
    /// let name = client.command(["GET", "name"]).to::<Option<String>>().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn to<U: FromReply>(self) -> Answer<U> {
        Answer { reply: self.reply, wanted: PhantomData }
    }
}

impl<T: FromReply> Future for Answer<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(Pin::new(&mut self.reply).poll(cx));
        Poll::Ready(reply.unwrap_or(Err(Error::Closed)).and_then(T::from_reply))
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_there = self.reply.is_finished();
        f.debug_struct("Answer").field("is_there", &is_there).finish_non_exhaustive()
    }
}

/// Gives an answer, if anybody waits for one.
pub(crate) fn give<T>(resolver: Option<Resolver<Result<T, Error>>>, answer: Result<T, Error>) {
    if let Some(resolver) = resolver {
        let _ = resolver.resolve(answer);
    }
}
