//! Compiles what reads hiredis' structs against the headers that are installed.

fn main() {
    println!("cargo::rerun-if-changed=src/layout.c");
    cc::Build::new().file("src/layout.c").warnings_into_errors(true).compile("layout");
    println!("cargo::rustc-link-lib=hiredis");
}
