//! An application of three packages. Each was written for a build of its own, with the features
//! that it asks for; here they are one build, which has the features of all.

pub use embeds::embedded;
pub use on_async_io::on_its_executor;
pub use on_tokio::on_its_runtime;
