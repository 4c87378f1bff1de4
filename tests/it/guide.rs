//! The guide names what there is: every method of the pages that its tables stand for, and every
//! folder with software of others. What it shows of an example is there.

use std::fs;
use std::path::Path;

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

const OTHER_SOFTWARE: &str = include_str!("../../src/guide/other_software.rs");

/// The folders in a folder of the repository that are packages.
fn packages(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let entries = entries.map(|entry| entry.unwrap());
    let packages = entries.filter(|entry| entry.path().join("Cargo.toml").is_file());
    packages.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[test]
fn a_folder_of_other_software_without_a_readme_or_a_place_in_the_guide() {
    let folders = packages("integration");
    assert!(folders.len() > 5, "{folders:?}");
    for folder in folders {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration").join(&folder);
        let readme = fs::read_to_string(readme.join("README.md"))
            .unwrap_or_else(|error| panic!("integration/{folder}/README.md: {error}"));
        for part in ["# ", "cargo test", "*Copy*"] {
            assert!(readme.contains(part), "integration/{folder}/README.md has no {part}");
        }
        assert!(OTHER_SOFTWARE.contains(&format!("`integration/{folder}`")), "{folder}");
    }
    for crate_ in packages("drivers").into_iter().filter(|name| name != "compare") {
        let link = format!("[`ioloop-{crate_}`](https://docs.rs/ioloop-{crate_})");
        assert!(OTHER_SOFTWARE.contains(&link), "{link}");
    }
}

#[test]
fn a_path_in_the_guide_that_is_not_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for page in fs::read_dir(root.join("src/guide")).unwrap() {
        let page = page.unwrap().path();
        let text = fs::read_to_string(&page).unwrap();
        // What stands between backquotes, outside of code.
        let words = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
        let folders =
            ["capi", "integration/", "drivers/", "examples/", "conformance/", "tests/", "benches/"];
        for path in words.filter(|word| folders.iter().any(|folder| word.starts_with(folder))) {
            named += 1;
            assert!(root.join(path).exists(), "{path} in {}", page.display());
        }
    }
    assert!(named > 10, "{named} paths");
}

#[test]
fn the_two_lines_that_make_a_trace_are_those_of_the_example() {
    let page = include_str!("../../src/guide/watching.rs");
    let example = include_str!("../../examples/try/src/bin/trace/main.rs");
    let lines = page.lines().filter_map(|line| line.strip_prefix("//! "));
    let shown = lines.skip_while(|line| *line != "```text").skip(1);
    let shown: Vec<_> = shown.take_while(|line| *line != "```").collect();
    let statements = shown.iter().filter(|line| line.starts_with("let ") || line.contains('('));
    assert_eq!(statements.count(), 2);
    assert!(shown.iter().all(|line| example.contains(line)), "{shown:?}");
}
