//! Compiles the peers in C, where their libraries are installed; those of curl with the libcurl that
//! the crate `curl` uses here.

include!("../compile.rs");

/// Beside libcurl.
const PEERS: [(&str, &[&str]); 3] =
    [("curl_poll", &[]), ("curl_libuv", &["-luv"]), ("curl_libevent", &["-levent_core"])];

/// What a libcurl that was built from source needs, by the features that it was built with.
const NEEDED: [&[&str]; 3] =
    [&["-lz"], &["-lz", "-lssl", "-lcrypto"], &["-lz", "-lssl", "-lcrypto", "-lnghttp2"]];

fn main() {
    let flags = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect();
    compile("hiredis_libuv", &[flags(&["-lhiredis", "-luv"])]);
    compile("pq_threads", &[flags(&[&format!("-I{}", libpq_headers()), "-lpq"])]);
    // They are not there where curl-sys has found the system's.
    let built = env::var("DEP_CURL_ROOT").ok().zip(env::var("DEP_CURL_INCLUDE").ok());
    for (name, flags) in PEERS {
        let flags = |rest: &[&str]| -> Vec<String> {
            let own = flags.iter().chain(rest).map(|flag| (*flag).to_owned());
            match &built {
                Some((root, include)) => {
                    [format!("-I{include}"), format!("{root}/build/libcurl.a")]
                        .into_iter()
                        .chain(own)
                        .collect()
                }
                None => own.chain(["-lcurl".to_owned()]).collect(),
            }
        };
        compile(name, &NEEDED.map(flags));
    }
}

/// Debian has them in no directory that a compiler looks into.
fn libpq_headers() -> String {
    let asked = Command::new("pg_config").arg("--includedir").output();
    let told = asked.ok().filter(|output| output.status.success());
    let path = told.and_then(|output| String::from_utf8(output.stdout).ok());
    path.map_or("/usr/include/postgresql".into(), |path| path.trim().to_owned())
}
