//! Connections in a forked child.
#![expect(unsafe_code, reason = "fork(2)")]

use super::*;

cases![a_forked_child_that_dropped_its_copy_ended_the_parents_session];

fn a_forked_child_that_dropped_its_copy_ended_the_parents_session(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = Some(site.connect().await);
        // SAFETY: the child drops a connection, and ends.
        match unsafe { libc::fork() } {
            0 => {
                drop(connection.take());
                // SAFETY: it runs nothing of this process any more.
                unsafe { libc::_exit(0) }
            }
            child => {
                assert!(child > 0);
                let mut status = -1;
                // SAFETY: it is a child of this process, and the status lives.
                assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                assert_eq!(status, 0);
            }
        }
        assert_eq!(number(&mut connection.unwrap(), "SELECT 1").await, 1);
    });
}
