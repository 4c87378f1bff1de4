//! The tables of the guide name every method of the pages that they stand for.

const PAGE: &str = include_str!("../../src/guide/coming_from.rs");

/// Tornado's documentation of `IOLoop`, `PeriodicCallback` and `tornado.platform.asyncio`.
const TORNADO: &str = "current make_current clear_current start stop run_sync close instance install clear_instance \
    add_callback add_callback_from_signal add_future spawn_callback run_in_executor set_default_executor add_timeout \
    call_at call_later remove_timeout time add_handler update_handler remove_handler configurable_base \
    configurable_default configure close_fd split_fd is_running AsyncIOMainLoop AsyncIOLoop \
    AnyThreadEventLoopPolicy AddThreadSelectorEventLoop SelectorThread to_tornado_future to_asyncio_future";

/// `dir(asyncio.AbstractEventLoop)`, and its documentation's handles and servers.
const ASYNCIO: &str = "add_reader add_signal_handler add_writer call_at call_exception_handler call_later call_soon \
    call_soon_threadsafe close connect_accepted_socket connect_read_pipe connect_write_pipe create_connection \
    create_datagram_endpoint create_future create_server create_task create_unix_connection create_unix_server \
    default_exception_handler get_debug get_exception_handler get_task_factory getaddrinfo getnameinfo is_closed \
    is_running remove_reader remove_signal_handler remove_writer run_forever run_in_executor run_until_complete \
    sendfile set_debug set_default_executor set_exception_handler set_task_factory shutdown_asyncgens \
    shutdown_default_executor sock_accept sock_connect sock_recv sock_recv_into sock_recvfrom sock_recvfrom_into \
    sock_sendall sock_sendfile sock_sendto start_tls stop subprocess_exec subprocess_shell time get_running_loop \
    get_event_loop set_event_loop new_event_loop cancel cancelled when close_clients abort_clients get_loop \
    start_serving serve_forever is_serving wait_closed sockets slow_callback_duration";

/// The names in the first column of the tables from `heading` on, as long as headings begin with
/// `prefix`.
fn first_columns(prefix: &str) -> Vec<&'static str> {
    let mut within = false;
    let mut names = Vec::new();
    for line in PAGE.lines().filter_map(|line| line.strip_prefix("//! ")) {
        if let Some(heading) = line.strip_prefix("# ") {
            within = heading.starts_with(prefix);
        }
        let column =
            line.strip_prefix("| ").filter(|_| within).and_then(|line| line.split(" | ").next());
        let names_of =
            |text: &'static str| text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        names.extend(column.into_iter().flat_map(names_of));
    }
    names
}

#[test]
fn every_method_of_tornado_and_asyncio_is_in_a_table() {
    for (prefix, methods) in [("Tornado", TORNADO), ("asyncio", ASYNCIO)] {
        let named = first_columns(prefix);
        let missing: Vec<_> =
            methods.split_whitespace().filter(|method| !named.contains(method)).collect();
        assert!(missing.is_empty(), "{prefix}: {missing:?}");
    }
}
